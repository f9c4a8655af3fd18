"""MIMIC-III's files give the tables that MIMIC-IV's do."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.config import AdmissionView, SplitConfig
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    DiagnosesConfig,
    LengthOfStayConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
    ReadmissionConfig,
    VentilationConfig,
)
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import Files, write_cohort, write_notes, write_outcome, write_splits
from tasks.schemas import ADMISSIONS, EXCLUSIONS, LABELS, NOTES, OUTCOMES

NOTE = 'CHIEF COMPLAINT: pain\n\nHISTORY OF PRESENT ILLNESS: "bad" since [**2150-1-1**].\n'
ADMITTED, DISCHARGED = "2150-01-01 10:00:00", "2150-01-05 12:00:00"


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    with gzip.open(folder / f"{name}.csv.gz", "wt", newline="") as file:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(file, ["ROW_ID", *columns], quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows({"ROW_ID": number, **row} for number, row in enumerate(rows, 1))


def note(subject: int, hadm: int | str, text: str, category: str, description: str = "Report",
         error: str = "") -> dict[str, Any]:  # fmt: skip
    return {
        "SUBJECT_ID": subject, "HADM_ID": hadm, "CHARTDATE": "2150-01-05", "CHARTTIME": "",
        "STORETIME": "", "CATEGORY": category, "DESCRIPTION": description, "CGID": "",
        "ISERROR": error, "TEXT": text,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Patient 1 of 91 years and more, 2 of 44, a newborn 3."""
    folder = tmp_path / "mimic-iii"
    folder.mkdir()
    notes = [
        note(1, 100001, NOTE, "Discharge summary"),
        note(1, 100001, "Late word.", "Discharge summary", "Addendum"),
        note(1, "", "Clear lungs.", "Radiology", "CHEST (PA & LAT)"),
        note(2, 100002, NOTE, "Discharge summary"),
        note(2, 100002, "Slept well.", "Nursing/other"),
        note(2, 100002, "Of another patient.", "Discharge summary", error="1"),
        note(3, 100003, NOTE, "Discharge summary"),
    ]
    write(folder, "NOTEEVENTS", notes)
    born = {1: "1850-01-01 00:00:00", 2: "2105-06-01 00:00:00", 3: ADMITTED}
    write(folder, "PATIENTS", [
        {"SUBJECT_ID": s, "GENDER": "F", "DOB": day, "DOD": "2150-01-20 00:00:00" if s == 2 else ""}
        for s, day in born.items()
    ])  # fmt: skip
    write(folder, "ADMISSIONS", [
        {
            "SUBJECT_ID": s, "HADM_ID": 100000 + s, "ADMITTIME": ADMITTED, "DISCHTIME": DISCHARGED,
            "DEATHTIME": "", "ADMISSION_TYPE": "NEWBORN" if s == 3 else "EMERGENCY",
            "INSURANCE": "Medicare", "LANGUAGE": "ENGL", "ETHNICITY": "WHITE",
            "HOSPITAL_EXPIRE_FLAG": 0,
        }
        for s in born
    ])  # fmt: skip
    codes = [(1, "4019"), (1, "V5861"), (2, "0389"), (2, "")]
    rows = [{"SUBJECT_ID": s, "HADM_ID": 100000 + s, "ICD9_CODE": code} for s, code in codes]
    write(folder, "DIAGNOSES_ICD", rows)
    write(folder, "PROCEDURES_ICD", [{**rows[0], "ICD9_CODE": "0331"}])
    title = {"SHORT_TITLE": "Hypertension NOS", "LONG_TITLE": "Unspecified hypertension"}
    write(folder, "D_ICD_DIAGNOSES", [{"ICD9_CODE": "4019", **title}])
    write(folder, "ICUSTAYS", [
        {"SUBJECT_ID": 2, "HADM_ID": 100002, "ICUSTAY_ID": 200001, "INTIME": ADMITTED,
         "OUTTIME": DISCHARGED}
    ])  # fmt: skip
    (folder / "ventilation_durations.csv").write_text(
        "icustay_id,ventnum,starttime,endtime,duration_hours\n"
        "200001,1,2150-01-01 12:00:00,2150-01-08 11:00:00,167\n"
    )
    return folder


@pytest.fixture
def cohort(folder: Path, tmp_path: Path) -> Path:
    files = files_of(folder, "discharge", "patients", "admissions")
    write_notes(tmp_path / "notes", files.open("discharge"))
    write_splits(tmp_path / "splits", files, SplitConfig(validation=0, test=0))
    parts = tmp_path / "notes", tmp_path / "splits", files
    write_cohort(tmp_path / "cohort", *parts, AdmissionView(), ("NEWBORN",))
    return tmp_path / "cohort"


def files_of(folder: Path, *names: str) -> Files:
    source = open_source(folder, None)
    assert source.release == "mimic-iii"
    return Files(ReadConfig(release="mimic-iii", max_reject_share=0.5), source.paths(*names))


def test_notes_are_of_one_kind_and_not_in_error(folder: Path, tmp_path: Path) -> None:
    files = files_of(folder, "discharge", "radiology")
    counts = write_notes(tmp_path / "discharge", files.open("discharge"))
    assert counts == {"rows": 7, "notes": 4, "rejected": 0, "of_other_kinds": 3}
    rows_read = tables.read(tmp_path / "discharge" / "notes", NOTES).to_pylist()
    assert [(row["note_id"], row["note_type"]) for row in rows_read] == [
        ("1", "DS"),
        ("2", "AD"),
        ("4", "DS"),
        ("7", "DS"),
    ]
    assert rows_read[0]["text"] == NOTE
    assert str(rows_read[0]["charttime"]) == "2150-01-05 00:00:00"
    write_notes(tmp_path / "radiology", files.open("radiology"))
    (report,) = tables.read(tmp_path / "radiology" / "notes", NOTES).to_pylist()
    assert (report["note_type"], report["hadm_id"]) == ("RR", None)


def test_the_cohort_has_ages_and_no_newborn(cohort: Path) -> None:
    rows_read = tables.read(cohort / "admissions", ADMISSIONS).to_pylist()
    assert [(row["hadm_id"], row["age"], row["race"]) for row in rows_read] == [
        (100001, 91, "WHITE"),
        (100002, 44, "WHITE"),
    ]
    assert rows_read[0]["note"].startswith("CHIEF COMPLAINT: pain")
    (left_out,) = tables.read(cohort / "exclusions", EXCLUSIONS).to_pylist()
    assert left_out == {"hadm_id": 100003, "reason": "admission of type NEWBORN"}


@pytest.mark.parametrize(
    ("config", "labels", "of_1", "of_2"),
    [
        (DiagnosesConfig(min_count=1), ["038", "401", "V586"], [1, 2], [0]),
        (ProceduresConfig(min_count=1), ["033"], [0], []),
        (MortalityConfig(), ["died"], [], []),
        (LengthOfStayConfig(), ["<=3", "(3,7]", "(7,14]", ">14"], [1], [1]),
        (VentilationConfig(), ["prolonged"], None, [0]),
        (DeathAfterDischargeConfig(), ["30d"], [], [0]),
        (ReadmissionConfig(), ["30d"], [], []),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_every_outcome_is_made(
    folder: Path,
    cohort: Path,
    tmp_path: Path,
    config: OutcomeConfig,
    labels: list[str],
    of_1: list[int] | None,
    of_2: list[int] | None,
) -> None:
    files = files_of(folder, *config.tables, *config.titles)
    write_outcome(tmp_path / "outcome", config, cohort, files)
    rows_read = tables.read(tmp_path / "outcome" / "outcomes", OUTCOMES).to_pylist()
    assert [row["labels"] if row["observed"] else None for row in rows_read] == [of_1, of_2]
    named = tables.read(tmp_path / "outcome" / "labels", LABELS).to_pylist()
    assert [label["code"] for label in named] == labels


def test_what_the_release_has_no_table_for_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match="mimic-iii has no table for: anchor_years"):
        open_source(folder, None).check(["discharge", "anchor_years"], [])
    (folder / "ventilation_durations.csv").unlink()
    with pytest.raises(SourceError, match="the table VENTILATION_DURATIONS"):
        open_source(folder, None).check(["ventilation"], [])
