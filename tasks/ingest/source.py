"""Where a source keeps its tables, and which columns of which types each must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.errors import SourceError
from tasks.ingest.blocks import read_header

_date_time = pa.timestamp("us")


@dataclass(frozen=True)
class Layout:
    """A table of MIMIC-IV: its place, and the columns that we read (others are passed over).

    A column that is not nullable must have a value in every row; `unique` names the key.
    """

    name: str
    schema: pa.Schema
    unique: str | None = None


def _schema(required: dict[str, pa.DataType], optional: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in required.items()]
        + [pa.field(name, kind) for name, kind in optional.items()]
    )


_NOTE_IDS = {"note_id": pa.string(), "subject_id": pa.int64()}
_NOTE_REST = {"note_type": pa.string(), "text": pa.large_string()}
_NOTE_TIMES = {"note_seq": pa.int32(), "charttime": _date_time, "storetime": _date_time}

DISCHARGE = Layout(
    "note/discharge",
    _schema(_NOTE_IDS | {"hadm_id": pa.int64()} | _NOTE_REST, _NOTE_TIMES),
    unique="note_id",
)
RADIOLOGY = Layout(  # hadm_id: null for reports outside any admission
    "note/radiology",
    _schema(_NOTE_IDS | _NOTE_REST, _NOTE_TIMES | {"hadm_id": pa.int64()}),
    unique="note_id",
)
PATIENTS = Layout(
    "hosp/patients",
    _schema(
        {"subject_id": pa.int64()},
        {"gender": pa.string(), "anchor_age": pa.int32(), "anchor_year": pa.int32()},
    ),
    unique="subject_id",
)
ADMISSIONS = Layout(
    "hosp/admissions",
    _schema(
        {
            "subject_id": pa.int64(),
            "hadm_id": pa.int64(),
            "admittime": _date_time,
            "dischtime": _date_time,
        },
        {
            "race": pa.string(),
            "insurance": pa.string(),
            "language": pa.string(),
            "admission_type": pa.string(),
            "hospital_expire_flag": pa.int32(),
        },
    ),
    unique="hadm_id",
)
_CODES = _schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "icd_code": pa.string(),  # a string: leading zeros live
        "icd_version": pa.int32(),
    },
    {},
)
_TITLES = _schema({"icd_code": pa.string(), "icd_version": pa.int32()}, {"long_title": pa.string()})
DIAGNOSES = Layout("hosp/diagnoses_icd", _CODES)
PROCEDURES = Layout("hosp/procedures_icd", _CODES)
DIAGNOSIS_TITLES = Layout("hosp/d_icd_diagnoses", _TITLES)
PROCEDURE_TITLES = Layout("hosp/d_icd_procedures", _TITLES)
LAYOUTS = {
    layout.name: layout
    for layout in (
        DISCHARGE,
        RADIOLOGY,
        PATIENTS,
        ADMISSIONS,
        DIAGNOSES,
        PROCEDURES,
        DIAGNOSIS_TITLES,
        PROCEDURE_TITLES,
    )
}


@dataclass(frozen=True)
class Source:
    """The files of a source; MIMIC-IV-Note may lie in a folder of its own."""

    folder: Path
    note_folder: Path

    def find(self, layout: Layout) -> Path | None:
        """The table's file, or None where there is none."""
        folder = self.note_folder if layout.name.startswith("note/") else self.folder
        for ending in (".csv.gz", ".csv"):
            path = folder / f"{layout.name}{ending}"
            if path.is_file():
                return path
        return None

    def path(self, layout: Layout) -> Path:
        """The table's file; SourceError where there is none."""
        if found := self.find(layout):
            return found
        folder = self.note_folder if layout.name.startswith("note/") else self.folder
        raise SourceError(
            f"the table {layout.name} is missing in {folder}: expected {layout.name}.csv.gz or "
            f"{layout.name}.csv; put it there, or correct ingest.source"
        )

    def check(self, required: Sequence[Layout], optional: Sequence[Layout]) -> None:
        """Raise one SourceError that names everything missing: tables, and columns of tables."""
        faults = []
        for layout in (*required, *optional):
            path = self.find(layout)
            if path is not None:
                faults += missing_columns(path, layout.schema)
            elif layout in required:
                faults.append(f"the table {layout.name} (.csv.gz or .csv)")
        if faults:
            raise SourceError(
                f"{self.folder} lacks {'; '.join(faults)}; add what is missing, or correct "
                "ingest.source"
            )


def open_source(folder: Path, note_folder: Path | None) -> Source:
    """The source in that folder. Raises SourceError where there is no such folder."""
    for place, key in ((folder, "ingest.source"), (note_folder, "ingest.note_source")):
        if place is not None and not place.is_dir():
            raise SourceError(f"the folder {place} is not there; correct {key}")
    return Source(folder, note_folder or folder)


def missing_columns(path: Path, schema: pa.Schema) -> list[str]:
    """Which columns the file's header lacks, in words; names are compared without case."""
    found = {name.casefold() for name in read_header(path)}
    return [f"the column {name} of {path.name}" for name in schema.names if name not in found]
