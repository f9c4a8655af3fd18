"""Sources that lack columns: null where nothing asked for needs them, else refused by name."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.config import IngestConfig
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    LengthOfStayConfig,
    MortalityConfig,
    OutcomeConfig,
    ReadmissionConfig,
    VentilationConfig,
)
from tasks.ingest.source import open_source
from tasks.ingest.steps import ingest
from tasks.schemas import QUALITY
from tests.ingest.conftest import SmallSource
from tests.ingest.small_ingest import SmallIngest, day, stay, write_mimic_iii

DESCRIBING = ("race", "insurance", "language", "admission_type")


def drop(path: Path, *names: str) -> None:
    """Take columns out of a file."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
        kept = [name for name in rows[0] if name.lower() not in names]
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def usual(source: SmallSource) -> SmallSource:
    source.patient(1, dod=day(12)[:10])
    source.admission(1, 101, **stay(0, 5), race="WHITE", insurance="Medicaid")
    source.note(1, 101, "Clear lungs.", kind="RR", table="note/radiology")
    source.code("diagnoses_icd", 1, 101, ("I10", 10))
    source.code("procedures_icd", 1, 101, ("02HV33Z", 10))
    source.rows["icu/icustays"] = [
        {"subject_id": 1, "hadm_id": 101, "stay_id": 7, "intime": day(0), "outtime": day(1)}
    ]
    source.rows["icu/procedureevents"] = [
        {"stay_id": 7, "itemid": 225792, "starttime": day(0), "endtime": day(1)}
    ]
    source.write()
    return source


@pytest.mark.parametrize("release", ["mimic-iv", "mimic-iii"])
def test_what_only_describes_patients_may_be_missing_and_is_null(
    usual: SmallSource, tmp_path: Path, release: str
) -> None:
    folder, suffix = usual.folder, "hosp/admissions.csv.gz"
    patients, born = "hosp/patients.csv.gz", ("gender", "anchor_age", "anchor_year", "dod")
    if release == "mimic-iii":
        folder, suffix = write_mimic_iii(usual, tmp_path / "iii"), "ADMISSIONS.csv.gz"
        patients, born = "PATIENTS.csv.gz", ("gender", "dob", "dod")
        drop(folder / "NOTEEVENTS.csv.gz", "iserror", "description", "storetime", "charttime")
    drop(folder / suffix, *DESCRIBING, "deathtime")
    drop(folder / patients, *born)
    open_source(folder, None).check(["discharge", "patients", "deaths", "admissions"], [])
    made = SmallIngest(folder, tmp_path / "out")
    row = made.admission(101)
    assert [row[name] for name in (*DESCRIBING, "sex", "age")] == [None] * 6
    assert made.of(101) == (False, 1, False, False)  # no dod: nobody is known to have died
    missing = {column for column, check in made.odd if check == "is missing: no such column"}
    assert missing == {*DESCRIBING, "deathtime", *born}
    empty = {column for column, check in made.odd if check == "is empty"}
    assert not empty & {*DESCRIBING, "deathtime"}  # said once


@pytest.mark.parametrize(
    ("table", "column", "outcome"),
    [
        ("hosp/admissions", "hospital_expire_flag", MortalityConfig()),
        ("hosp/admissions", "hospital_expire_flag", LengthOfStayConfig()),
        ("hosp/admissions", "hospital_expire_flag", ReadmissionConfig()),
        ("hosp/admissions", "hospital_expire_flag", DeathAfterDischargeConfig()),
        ("hosp/admissions", "hospital_expire_flag", VentilationConfig()),
        ("hosp/admissions", "admission_type", ReadmissionConfig()),
        ("hosp/patients", "dod", DeathAfterDischargeConfig()),
        ("icu/procedureevents", "endtime", VentilationConfig()),
        ("icu/icustays", "intime", VentilationConfig()),
    ],
)
def test_what_an_outcome_needs_is_named(
    usual: SmallSource, table: str, column: str, outcome: OutcomeConfig
) -> None:
    drop(usual.path(table), column)
    with pytest.raises(SourceError, match=f"lacks the column {column} of {Path(table).name}"):
        ingest(IngestConfig(source=usual.folder, outcomes=(outcome,)))


def test_what_the_cohort_is_asked_for_is_named(usual: SmallSource) -> None:
    drop(usual.path("hosp/admissions"), "admission_type")
    drop(usual.path("note/radiology"), "charttime")
    only: dict[str, Any] = {"source": usual.folder, "outcomes": [{"kind": "mortality"}]}
    for more, named in (
        ({"exclude_admission_types": ["*OBSERVATION*"]}, "column admission_type of admissions"),
        ({"view": {"kind": "radiology"}, "allow_leak": True}, "column charttime of radiology"),
    ):
        with pytest.raises(SourceError, match=named):
            ingest(IngestConfig.model_validate(only | more))


def test_readmission_that_counts_every_kind_needs_no_kind(
    usual: SmallSource, tmp_path: Path
) -> None:
    drop(usual.path("hosp/admissions"), "admission_type")
    assert SmallIngest(usual.folder, tmp_path / "out").of(101) == (False, 1, False, True)


def test_a_missing_radiology_table_says_how_to_do_without(usual: SmallSource) -> None:
    usual.path("note/radiology").unlink()
    with pytest.raises(SourceError, match=r"note/radiology .*ingest\.include_radiology: false"):
        ingest(IngestConfig(source=usual.folder, outcomes=(MortalityConfig(),)))


def test_a_run_without_the_describing_columns_reports_them(
    usual: SmallSource, prefect_store: Any
) -> None:
    from tests.ingest.test_steps import run

    drop(usual.path("hosp/admissions"), *DESCRIBING)
    made = run(IngestConfig(source=usual.folder, outcomes=(MortalityConfig(),)))
    path = prefect_store.path(made.quality.kind, made.quality.key)
    rows = tables.read(path / "quality", QUALITY).to_pylist()
    missing = [row["column"] for row in rows if row["check"].startswith("is missing")]
    assert missing == list(DESCRIBING)
    assert all(row["count"] == 1 for row in rows if row["column"] in missing)
