"""A small source in MIMIC-IV's layout that a test changes at will."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.ingest.rejects import Rejects
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import Files
from tasks.schemas import REJECTS

Row = dict[str, Any]

COLUMNS = {
    "note/discharge": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/radiology": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/admissions": "subject_id hadm_id admittime dischtime deathtime admission_type "
    "admit_provider_id admission_location discharge_location insurance language marital_status "
    "race edregtime edouttime hospital_expire_flag",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
    "hosp/d_icd_diagnoses": "icd_code icd_version long_title",
    "hosp/d_icd_procedures": "icd_code icd_version long_title",
    "icu/icustays": "subject_id hadm_id stay_id first_careunit last_careunit intime outtime los",
    "icu/procedureevents": "subject_id hadm_id stay_id starttime endtime itemid value",
}


@dataclass
class SmallSource:
    """Rows by table; `write` makes the files."""

    folder: Path
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def patient(self, subject_id: int, **more: Any) -> None:
        row = {"subject_id": subject_id, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
        self.rows["hosp/patients"].append(row | more)

    def admission(
        self, subject_id: int, hadm_id: int, *, note: str | None = "", **more: Any
    ) -> None:
        """An admission, and its discharge note unless note is None ("": a usual one)."""
        row = {
            "subject_id": subject_id,
            "hadm_id": hadm_id,
            "admittime": "2152-01-01 10:00:00",
            "dischtime": "2152-01-05 12:00:00",
            "admission_type": "EW EMER.",
            "hospital_expire_flag": 0,
        }
        self.rows["hosp/admissions"].append(row | more)
        if note is not None:
            self.note(subject_id, hadm_id, note or "Chief Complaint:\npain\n")

    def note(
        self,
        subject_id: int,
        hadm_id: int | str,
        text: str,
        *,
        seq: int = 1,
        kind: str = "DS",
        table: str = "note/discharge",
    ) -> None:
        row = {
            "note_id": f"{subject_id}-{kind}-{hadm_id}-{seq}",
            "subject_id": subject_id,
            "hadm_id": hadm_id,
            "note_type": kind,
            "note_seq": seq,
            "charttime": "2152-01-05 00:00:00",
            "text": text,
        }
        self.rows[table].append(row)

    def code(self, table: str, subject_id: int, hadm_id: int, *codes: tuple[str, int]) -> None:
        for seq_num, (code, version) in enumerate(codes, start=1):
            row = {"subject_id": subject_id, "hadm_id": hadm_id, "seq_num": seq_num}
            self.rows[f"hosp/{table}"].append(row | {"icd_code": code, "icd_version": version})

    def title(self, table: str, code: str, version: int, title: str) -> None:
        row = {"icd_code": code, "icd_version": version, "long_title": title}
        self.rows[f"hosp/{table}"].append(row)

    def path(self, table: str) -> Path:
        return self.folder / f"{table}.csv.gz"

    def files(self, *names: str, share: float = 0.5) -> Files:
        """The tables of those names that are there, as a step reads them."""
        source = open_source(self.folder, None)
        reading = ReadConfig(release=source.release, max_reject_share=share)
        return Files(reading, source.paths(*names))

    def write(self) -> Path:
        for table, rows in self.rows.items():
            text = io.StringIO(newline="")
            writer = csv.DictWriter(
                text, COLUMNS[table].split(), lineterminator="\n", extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(rows)
            self.path(table).parent.mkdir(parents=True, exist_ok=True)
            self.path(table).write_bytes(gzip.compress(text.getvalue().encode(), 1, mtime=0))
        return self.folder


def rejected_rows(rejects: Rejects) -> list[Row]:
    """The rejected rows, in the file's order."""
    return pa.Table.from_batches(rejects.batches(), REJECTS).to_pylist()


def listed(rejects: Rejects) -> list[tuple[int, str | None, str]]:
    """Line, column and reason of each rejected row, in the file's order."""
    return [(row["line"], row["column"], row["reason"]) for row in rejected_rows(rejects)]


@pytest.fixture
def source(tmp_path: Path) -> SmallSource:
    return SmallSource(tmp_path / "source")
