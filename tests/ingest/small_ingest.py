"""Everything that a small source becomes: its cohort, four outcomes of its stays, its quality."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks import tables
from tasks.ingest.config import AdmissionView, SplitConfig
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    LengthOfStayConfig,
    MortalityConfig,
    OutcomeConfig,
    ReadmissionConfig,
)
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import (
    Files,
    write_cohort,
    write_notes,
    write_outcome,
    write_quality,
    write_splits,
)
from tasks.schemas import ADMISSIONS, EXCLUSIONS, OUTCOMES, QUALITY
from tests.ingest.conftest import SmallSource

NEW_YEAR = datetime(2152, 1, 1)
KINDS: tuple[OutcomeConfig, ...] = (
    MortalityConfig(),
    LengthOfStayConfig(),
    ReadmissionConfig(exclude=()),
    DeathAfterDischargeConfig(),
)
Label = bool | int | None  # None: unobserved


def day(days: float | None) -> str:
    return "" if days is None else str(NEW_YEAR + timedelta(days=days))


def stay(begin: float, end: float, flag: Any = 0, death: float | None = None) -> dict[str, Any]:
    return {
        "admittime": day(begin),
        "dischtime": day(end),
        "hospital_expire_flag": flag,
        "deathtime": day(death),
    }


class SmallIngest:
    """What became of a source's admissions, by hadm_id."""

    def __init__(self, folder: Path, out: Path) -> None:
        source = open_source(folder, None)
        reading = ReadConfig(release=source.release, max_reject_share=0.5)

        def files(*names: str) -> Files:
            return Files(reading, source.paths(*names))

        used = files("discharge", "patients", "admissions")
        write_notes(out / "notes", used.open("discharge"))
        write_splits(out / "splits", used, SplitConfig())
        cohort = out / "cohort"
        parts = out / "notes", out / "splits", used, AdmissionView(), ()
        self.counts = write_cohort(cohort, *parts)
        left_out = tables.read(cohort / "exclusions", EXCLUSIONS).to_pylist()
        self.left_out = {row["hadm_id"]: row["reason"] for row in left_out}
        self.admissions = tables.read(cohort / "admissions", ADMISSIONS)
        self.kept = self.admissions["hadm_id"].to_pylist()
        self.labels: dict[int, dict[str, Label]] = {hadm_id: {} for hadm_id in self.kept}
        for config in KINDS:
            write_outcome(out / config.kind, config, cohort, files(*config.tables))
            for row in tables.read(out / config.kind / "outcomes", OUTCOMES).to_pylist():
                self.labels[row["hadm_id"]][config.kind] = _label(config, row)
        paths = files("admissions", "patients")
        write_quality(out / "quality", {"discharge": out / "notes"}, paths)
        rows = tables.read(out / "quality" / "quality", QUALITY).to_pylist()
        self.odd = {(row["column"], row["check"]): row["count"] for row in rows if row["count"]}

    def admission(self, hadm_id: int) -> dict[str, Any]:
        """The cohort's row of an admission."""
        return self.admissions.to_pylist()[self.kept.index(hadm_id)]

    def of(self, hadm_id: int) -> str | tuple[Label, ...]:
        """Why it was left out; else death, length of stay, readmission, death after discharge."""
        if hadm_id in self.left_out:
            return self.left_out[hadm_id]
        return tuple(self.labels[hadm_id][config.kind] for config in KINDS)


def _label(config: OutcomeConfig, row: dict[str, Any]) -> Label:
    if not row["observed"]:
        return None
    return row["labels"][0] if isinstance(config, LengthOfStayConfig) else bool(row["labels"])


def write_mimic_iii(source: SmallSource, folder: Path) -> Path:
    """The same patients in MIMIC-III's layout."""
    born = {"dob": "2092-01-01 00:00:00"}
    notes = {"category": "Discharge summary", "description": "Report", "iserror": ""}
    for name, file, more in (
        ("note/discharge", "NOTEEVENTS", notes),
        ("hosp/patients", "PATIENTS", born),
        ("hosp/admissions", "ADMISSIONS", {}),
    ):
        rows = [{"row_id": number, **row, **more} for number, row in enumerate(source.rows[name])]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        folder.mkdir(exist_ok=True)
        with gzip.open(folder / f"{file}.csv.gz", "wt", newline="") as text:
            writer = csv.writer(text)
            writer.writerow(column.upper() for column in columns if column != "note_id")
            writer.writerows(
                [row.get(column, "") for column in columns if column != "note_id"] for row in rows
            )
    return folder
