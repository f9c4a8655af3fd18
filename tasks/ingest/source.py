"""A source: which release it is, where its tables are, and what it lacks."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.config import Config
from tasks.errors import SourceError
from tasks.ingest import mimic_iii, mimic_iv, omop, own_table
from tasks.ingest.column_names import missing_columns, or_header
from tasks.ingest.layout import Layout, OpenTable
from tasks.ingest.parquet_reader import SUFFIX, column_names
from tasks.ingest.source_config import OmopRules, OmopSource, Rules, TableColumns, TableSource

Release = Literal["mimic-iv", "mimic-iii", "table", "omop"]
RELEASES: Mapping[str, Mapping[str, Layout]] = {
    "mimic-iv": {layout.name: layout for layout in mimic_iv.LAYOUTS},
    "mimic-iii": {layout.name: layout for layout in mimic_iii.LAYOUTS},
}
_CSV = (".csv.gz", ".csv")
_WITHOUT = {
    "radiology": "; ingest.include_radiology: false does without it, unless ingest.view is of it"
}


class ReadConfig(Config):
    """How a source's tables are read."""

    release: Release
    max_reject_share: float
    rules: Annotated[Rules, Field(discriminator="kind")] | None = None
    """How a source is read that is not MIMIC's"""

    def layouts(
        self, beside: Mapping[str, Path] | None = None, asked: Collection[str] = ()
    ) -> Mapping[str, Layout]:
        """The tables of the release by name.

        Args:
            beside: the files of other tables that a table's rows are made from, too.
            asked: the columns that an outcome reads from a table of labels.
        """
        match self.rules:
            case TableColumns():
                return own_table.layouts(self.rules, asked)
            case OmopRules():
                return omop.layouts(self.rules, beside or {}, self.max_reject_share)
            case _:
                return RELEASES[self.release]


@dataclass(frozen=True)
class Source:
    """The files of a source; MIMIC-IV-Note may be in a separate folder.

    folder: of a source that is one table, its file.
    key: what the config calls it.
    rules: how it is read, where it is not MIMIC's.
    """

    release: Release
    folder: Path
    note_folder: Path
    key: str = "ingest.source"
    rules: Rules | None = None

    def reading(self, max_reject_share: float) -> ReadConfig:
        """How its tables are read."""
        return ReadConfig(release=self.release, max_reject_share=max_reject_share, rules=self.rules)

    def find(self, table: str) -> Path | None:
        """The table's file, or None where there is none, or the release has no such table."""
        layout = self._layouts().get(table)
        if layout is None or not layout.files or not all(map(self.find, layout.needs)):
            return None
        if self.release == "table":
            return self.folder
        for file in layout.files:
            folder = self.note_folder if file.startswith("note/") else self.folder
            if path := _find(folder / file, self._endings):
                return path
        return None

    def path(self, table: str) -> Path:
        """The table's file; SourceError where there is none."""
        if path := self.find(table):
            return path
        raise SourceError(f"{self.folder} lacks {self._name(table)}; correct {self.key}")

    def paths(self, *tables: str) -> dict[str, Path]:
        """The files of those tables that are there, by the tables' names.

        And those of other tables from which their rows are made, too.
        """
        layouts = self._layouts()
        beside = [name for table in tables if table in layouts for name in layouts[table].beside]
        return {table: path for table in (*tables, *beside) if (path := self.find(table))}

    def check(
        self,
        required: Iterable[str],
        optional: Iterable[str],
        columns: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Raise one SourceError that names everything missing: tables, and columns of tables.

        `columns` must be there, by table, although they may be null.
        """
        faults: dict[str, None] = {}
        needed = list(required)
        for table in (*needed, *optional):
            path = self.find(table)
            if path is not None:
                asked = (columns or {}).get(table, ())
                faults |= dict.fromkeys(self._lacking(table, path, asked))
            elif table in needed:
                faults[self._name(table)] = None
        if faults:
            raise SourceError(
                f"{self.folder} lacks {'; '.join(faults)}; add what is missing, or correct "
                f"{self.key}"
            )

    def _lacking(self, table: str, path: Path, asked: Collection[str]) -> Iterator[str]:
        layout = self._layouts(asked)[table]
        header = column_names(path)
        needed = (*asked, *layout.present)
        for name in missing_columns(header, layout.schema, layout.aliases, needed):
            yield f"the column {name}{or_header(header)} of {path.name}"
        for name in sorted(set(asked) & set(layout.unknown)):
            yield f"{name} of {table}, which no source of kind {self.release} has"

    def _name(self, table: str) -> str:
        layout = self._layouts().get(table)
        if layout and (lacking := [name for name in layout.needs if not self.find(name)]):
            return self._name(lacking[0])
        if layout is None or not layout.files:
            if self.rules is None:
                return f"what {self.release} has no table for: {table}"
            return f"{table}, which this source of kind {self.release} does not have"
        without = _WITHOUT.get(table, "") if self.rules is None else ""
        return f"the table {layout.files[0]} ({' or '.join(self._endings)}{without})"

    def _layouts(self, asked: Collection[str] = ()) -> Mapping[str, Layout]:
        return self.reading(1.0).layouts(asked=asked)

    @property
    def _endings(self) -> tuple[str, ...]:
        return _CSV if self.rules is None else (SUFFIX, *_CSV)


def open_source(
    given: Path | TableSource | OmopSource, note_folder: Path | None, key: str = "ingest.source"
) -> Source:
    """The source of a kind, or in MIMIC's folder: MIMIC-III if it has NOTEEVENTS, else MIMIC-IV.

    Raises SourceError where it does not exist.
    """
    match given:
        case TableSource(path=file):
            if not file.is_file():
                raise SourceError(f"the table {file} is not there; correct {key}.path")
            return Source("table", file, file.parent, key, given.rules)
        case OmopSource(path=folder):
            if not _is_there(folder):
                raise SourceError(f"the folder {folder} is not there; correct {key}.path")
            return Source("omop", folder, folder, key, given.rules)
        case folder:
            return _open_mimic(folder, note_folder, key)


def open_table(
    reading: ReadConfig,
    table: str,
    path: Path,
    beside: Mapping[str, Path] | None = None,
    asked: Collection[str] = (),
) -> OpenTable:
    """A table of the release, to be read from that file; see ReadConfig.layouts."""
    return OpenTable(reading.layouts(beside, asked)[table], path, reading.max_reject_share)


def _open_mimic(folder: Path, note_folder: Path | None, key: str) -> Source:
    for path, config_key in ((folder, key), (note_folder, "ingest.note_source")):
        if path is not None and not _is_there(path):
            raise SourceError(f"the folder {path} is not there; correct {config_key}")
    notes = note_folder or folder
    return Source("mimic-iii" if _find(notes / "NOTEEVENTS") else "mimic-iv", folder, notes, key)


def _find(stem: Path, endings: Collection[str] = _CSV) -> Path | None:
    """The file of that name with one of the endings appended, in whatever case.

    Else a folder or a broken link of that name: opening it then says what is wrong.
    """
    if not _is_there(stem.parent):
        return None
    names = [f"{stem.name}{ending}".casefold() for ending in endings]
    try:
        paths = sorted(stem.parent.iterdir())
    except OSError as error:
        raise _unreadable(stem.parent, error) from None
    matches = [path for path in paths if path.name.casefold() in names]
    matches.sort(key=lambda path: (not path.is_file(), names.index(path.name.casefold())))
    return matches[0] if matches else None


def _is_there(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> SourceError:
    return SourceError(
        f"the folder {folder} cannot be read ({error.strerror}); check its permissions"
    )
