"""A source folder: which release it is, where its tables lie, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.config import Config
from tasks.errors import SourceError
from tasks.ingest import mimic_iii, mimic_iv
from tasks.ingest.blocks import read_header
from tasks.ingest.layout import Layout, OpenTable

Release = Literal["mimic-iv", "mimic-iii"]
RELEASES: Mapping[Release, Mapping[str, Layout]] = {
    "mimic-iv": {layout.name: layout for layout in mimic_iv.LAYOUTS},
    "mimic-iii": {layout.name: layout for layout in mimic_iii.LAYOUTS},
}


class Reading(Config):
    """How a source's tables are read."""

    release: Release
    max_reject_share: float


@dataclass(frozen=True)
class Source:
    """The files of a source; MIMIC-IV-Note may lie in a folder of its own."""

    release: Release
    folder: Path
    note_folder: Path
    key: str = "ingest.source"  # what the config calls it

    def find(self, table: str) -> Path | None:
        """The table's file, or None where there is none, or the release knows no such table."""
        layout = RELEASES[self.release].get(table)
        if layout is None:
            return None
        for file in layout.files:
            folder = self.note_folder if file.startswith("note/") else self.folder
            if found := _find(folder / file):
                return found
        return None

    def path(self, table: str) -> Path:
        """The table's file; SourceError where there is none."""
        if found := self.find(table):
            return found
        raise SourceError(f"{self.folder} lacks {self._name(table)}; correct {self.key}")

    def paths(self, *tables: str) -> dict[str, Path]:
        """The files of those tables that are there, by the tables' names."""
        found = {table: self.find(table) for table in tables}
        return {table: path for table, path in found.items() if path is not None}

    def check(self, required: Iterable[str], optional: Iterable[str]) -> None:
        """Raise one SourceError that names everything missing: tables, and columns of tables."""
        faults: dict[str, None] = {}
        needed = list(required)
        for table in (*needed, *optional):
            path = self.find(table)
            if path is not None:
                faults |= dict.fromkeys(missing_columns(path, RELEASES[self.release][table]))
            elif table in needed:
                faults[self._name(table)] = None
        if faults:
            raise SourceError(
                f"{self.folder} lacks {'; '.join(faults)}; add what is missing, or correct "
                f"{self.key}"
            )

    def _name(self, table: str) -> str:
        layout = RELEASES[self.release].get(table)
        if layout is None:
            return f"what {self.release} has no table for: {table}"
        return f"the table {layout.files[0]} (.csv.gz or .csv)"


def open_source(folder: Path, note_folder: Path | None, key: str = "ingest.source") -> Source:
    """The source in that folder: MIMIC-III if it has NOTEEVENTS, else MIMIC-IV.

    Raises SourceError where there is no such folder.
    """
    for place, named in ((folder, key), (note_folder, "ingest.note_source")):
        if place is not None and not place.is_dir():
            raise SourceError(f"the folder {place} is not there; correct {named}")
    notes = note_folder or folder
    return Source("mimic-iii" if _find(notes / "NOTEEVENTS") else "mimic-iv", folder, notes, key)


def open_table(reading: Reading, table: str, path: Path) -> OpenTable:
    """A table of the release, to be read from that file."""
    return OpenTable(RELEASES[reading.release][table], path, reading.max_reject_share)


def missing_columns(path: Path, layout: Layout) -> list[str]:
    """Which columns the file's header lacks, in words; names are compared without case."""
    found = {name.casefold() for name in read_header(path)}
    return [
        f"the column {name} of {path.name}"
        for name in layout.schema.names
        if found.isdisjoint((name, *layout.found_as.get(name, ())))
    ]


def _find(stem: Path) -> Path | None:
    """The file of that name, with .csv.gz or .csv behind it, in whatever case."""
    if not stem.parent.is_dir():
        return None
    wanted = [f"{stem.name}{ending}".casefold() for ending in (".csv.gz", ".csv")]
    there = {
        path.name.casefold(): path
        for path in sorted(stem.parent.iterdir())
        if path.name.casefold() in wanted and path.is_file()
    }
    return next((there[name] for name in wanted if name in there), None)
