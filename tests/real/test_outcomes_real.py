"""The outcomes on the MIMIC-IV demo's real tables, counted again row by row."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import tables
from tasks.ingest.config import SplitConfig
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    DiagnosesConfig,
    LengthOfStayConfig,
    ReadmissionConfig,
    VentilationConfig,
)
from tasks.ingest.outcomes.mapping import read_map
from tasks.schemas import LABELS, OUTCOMES
from tests.real.test_ingest_real import Stage

Row = dict[str, str]
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "mimic-iv-demo-2.2"


@pytest.fixture(scope="module")
def demo(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    from tasks.synth.overlay import overlay

    place = tmp_path_factory.mktemp("demo")
    overlay(folder, place / "source")
    return Stage(place / "source", place / "out", SplitConfig())


def rows(folder: Path, table: str) -> list[Row]:
    with gzip.open(folder / f"{table}.csv.gz", "rt", newline="") as file:
        return [
            {name.lower(): value for name, value in row.items()} for row in csv.DictReader(file)
        ]


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def labels_of(demo: Stage, name: str) -> dict[int, list[int] | None]:
    found = tables.read(demo.out / name / "outcomes", OUTCOMES).to_pylist()
    return {row["hadm_id"]: row["labels"] if row["observed"] else None for row in found}


def test_87_of_the_demos_admissions_are_observation_stays(folder: Path) -> None:
    import pyarrow as pa

    from tasks.ingest.cohort import _matching

    kinds = [row["admission_type"] for row in rows(folder, "hosp/admissions")]
    matched = _matching(pa.chunked_array([kinds]), ["*observation*"])
    assert sum(kind in matched for kind in kinds) == 87


def test_length_of_stay(demo: Stage, folder: Path) -> None:
    demo.outcome(LengthOfStayConfig())
    found = labels_of(demo, "length_of_stay")
    for row in rows(folder, "hosp/admissions"):
        days = (time(row["dischtime"]) - time(row["admittime"])) / DAY
        expected = [0 if days <= 3 else 1 if days <= 7 else 2 if days <= 14 else 3]
        died = row["hospital_expire_flag"] == "1"
        assert found[int(row["hadm_id"])] == (None if died else expected)


def test_death_after_discharge(demo: Stage, folder: Path) -> None:
    demo.outcome(DeathAfterDischargeConfig())
    found = labels_of(demo, "death_after_discharge")
    deaths = {row["subject_id"]: row["dod"] for row in rows(folder, "hosp/patients")}
    for row in rows(folder, "hosp/admissions"):
        left, dod = time(row["dischtime"]).date(), deaths[row["subject_id"]]
        within = bool(dod) and time(dod).date() - left <= 30 * DAY
        died = row["hospital_expire_flag"] == "1" or (bool(dod) and time(dod).date() < left)
        assert found[int(row["hadm_id"])] == (None if died else [0] * within)
    assert sum(labels == [0] for labels in found.values()) > 0


@pytest.mark.parametrize("every", [False, True])
def test_readmission(demo: Stage, folder: Path, every: bool) -> None:
    demo.outcome(ReadmissionConfig(exclude=()) if every else ReadmissionConfig())
    found = labels_of(demo, "readmission")
    stays = rows(folder, "hosp/admissions")
    for row in stays:
        left = time(row["dischtime"])
        back = [
            other
            for other in stays
            if other["subject_id"] == row["subject_id"]
            and left <= time(other["admittime"]) <= left + 30 * DAY
            and (every or _counts(other, left))
        ]
        died = row["hospital_expire_flag"] == "1"
        assert found[int(row["hadm_id"])] == (None if died else [0] * bool(back))
    assert sum(labels == [0] for labels in found.values()) > 5


def _counts(stay: Row, left: datetime) -> bool:
    kind = stay["admission_type"]
    planned = kind in ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
    return (
        not planned and "OBSERVATION" not in kind and time(stay["admittime"]).date() > left.date()
    )


def test_prolonged_ventilation(demo: Stage, folder: Path) -> None:
    counts = demo.outcome(VentilationConfig())
    found = labels_of(demo, "ventilation")
    first: dict[str, Row] = {}
    for stay in sorted(rows(folder, "icu/icustays"), key=lambda row: row["intime"]):
        first.setdefault(stay["hadm_id"], stay)
    events: dict[str, list[Row]] = {}
    for event in rows(folder, "icu/procedureevents"):
        if event["itemid"] == "225792" and event["starttime"] < event["endtime"]:
            events.setdefault(event["stay_id"], []).append(event)
    seen = {
        hadm: events[stay["stay_id"]] for hadm, stay in first.items() if stay["stay_id"] in events
    }
    assert counts["never_ventilated"] == 275 - len(seen)
    for hadm, intervals in seen.items():
        start = min(time(event["starttime"]) for event in intervals)
        span = max(time(event["endtime"]) for event in intervals) + DAY / 4 - start
        if found[int(hadm)] is not None:
            assert found[int(hadm)] == [0] * (span >= 7 * DAY)
            assert span >= 2 * DAY
    observed = [labels for labels in found.values() if labels is not None]
    assert (
        len(observed) + counts["excluded_diagnosis"] + counts["under_18"]
        >= len(seen) - counts["ventilated_under_two_days"]
    )
    assert any(labels == [0] for labels in observed)


def test_icd_9_mapped_forward_on_the_real_map(demo: Stage, real_data: Path) -> None:
    path = real_data / "icd" / "icd_cm_9_to_10_mapping.csv.gz"
    found = read_map(path)
    assert found.codes["4019"] == "I10"
    assert found.codes["25000"][:3] == "E11"
    config = DiagnosesConfig(min_count=5, icd_versions="mapped", equivalence_map=path)
    counts = demo.outcome(config)
    assert counts["observed_icd9"] == 0
    assert counts["observed_icd10"] == 275
    nine = sum(row["icd_version"] == "9" for row in rows(demo.folder, "hosp/diagnoses_icd"))
    assert counts["code_rows_mapped"] + counts["code_rows_without_a_map"] == nine
    assert counts["code_rows_mapped"] > 0.95 * nine


def test_ccs_on_the_real_table(demo: Stage, real_data: Path) -> None:
    config: dict[str, Any] = {"min_count": 5, "grouping": "ccs", "icd_versions": "9"}
    config["grouping_file"] = real_data / "icd" / "X.dxref.2015.csv"
    counts = demo.outcome(DiagnosesConfig.model_validate(config))
    assert counts["code_rows_without_a_group"] < 0.01 * counts["code_rows"]
    labels = tables.read(demo.out / "diagnoses" / "labels", LABELS).to_pylist()
    titles = {row["code"]: row["title"] for row in labels}
    assert titles["98"] == "HTN"  # as that file abbreviates it
