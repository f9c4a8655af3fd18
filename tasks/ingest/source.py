"""A source folder: which release it is, where its tables are, and what it lacks."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.config import Config
from tasks.errors import SourceError
from tasks.ingest import mimic_iii, mimic_iv
from tasks.ingest.blocks import read_header
from tasks.ingest.column_names import missing_columns, or_header
from tasks.ingest.layout import Layout, OpenTable

Release = Literal["mimic-iv", "mimic-iii"]
RELEASES: Mapping[Release, Mapping[str, Layout]] = {
    "mimic-iv": {layout.name: layout for layout in mimic_iv.LAYOUTS},
    "mimic-iii": {layout.name: layout for layout in mimic_iii.LAYOUTS},
}
_WITHOUT = {
    "radiology": "; ingest.include_radiology: false does without it, unless ingest.view is of it"
}


class ReadConfig(Config):
    """How a source's tables are read."""

    release: Release
    max_reject_share: float


@dataclass(frozen=True)
class Source:
    """The files of a source; MIMIC-IV-Note may be in a separate folder."""

    release: Release
    folder: Path
    note_folder: Path
    key: str = "ingest.source"  # what the config calls it

    def find(self, table: str) -> Path | None:
        """The table's file, or None where there is none, or the release has no such table."""
        layout = RELEASES[self.release].get(table)
        if layout is None:
            return None
        for file in layout.files:
            folder = self.note_folder if file.startswith("note/") else self.folder
            if path := _find(folder / file):
                return path
        return None

    def path(self, table: str) -> Path:
        """The table's file; SourceError where there is none."""
        if path := self.find(table):
            return path
        raise SourceError(f"{self.folder} lacks {self._name(table)}; correct {self.key}")

    def paths(self, *tables: str) -> dict[str, Path]:
        """The files of those tables that are there, by the tables' names."""
        return {table: path for table in tables if (path := self.find(table))}

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
                faults |= dict.fromkeys(self._lacking(table, path, (columns or {}).get(table, ())))
            elif table in needed:
                faults[self._name(table)] = None
        if faults:
            raise SourceError(
                f"{self.folder} lacks {'; '.join(faults)}; add what is missing, or correct "
                f"{self.key}"
            )

    def _lacking(self, table: str, path: Path, needed: Collection[str]) -> list[str]:
        layout = RELEASES[self.release][table]
        header = read_header(path)
        missing = missing_columns(header, layout.schema, layout.aliases, needed)
        return [f"the column {name}{or_header(header)} of {path.name}" for name in missing]

    def _name(self, table: str) -> str:
        layout = RELEASES[self.release].get(table)
        if layout is None:
            return f"what {self.release} has no table for: {table}"
        without = _WITHOUT.get(table, "")
        return f"the table {layout.files[0]} (.csv.gz or .csv{without})"


def open_source(folder: Path, note_folder: Path | None, key: str = "ingest.source") -> Source:
    """The source in that folder: MIMIC-III if it has NOTEEVENTS, else MIMIC-IV.

    Raises SourceError where the folder does not exist.
    """
    for path, config_key in ((folder, key), (note_folder, "ingest.note_source")):
        if path is not None and not _is_there(path):
            raise SourceError(f"the folder {path} is not there; correct {config_key}")
    notes = note_folder or folder
    return Source("mimic-iii" if _find(notes / "NOTEEVENTS") else "mimic-iv", folder, notes, key)


def open_table(reading: ReadConfig, table: str, path: Path) -> OpenTable:
    """A table of the release, to be read from that file."""
    return OpenTable(RELEASES[reading.release][table], path, reading.max_reject_share)


def _find(stem: Path) -> Path | None:
    """The file of that name with .csv.gz or .csv appended, in whatever case.

    Else a folder or a broken link of that name: opening it then says what is wrong.
    """
    if not _is_there(stem.parent):
        return None
    names = [f"{stem.name}{ending}".casefold() for ending in (".csv.gz", ".csv")]
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
