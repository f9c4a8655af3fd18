"""OMOP's tables become what the same patients in MIMIC's tables become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.config import IngestConfig
from tasks.ingest.requirements import check_source, note_tables
from tasks.ingest.write import (
    Files,
    write_cohort,
    write_notes,
    write_outcome,
    write_quality,
    write_splits,
)
from tasks.schemas import ADMISSIONS, EXCLUSIONS, LABELS, OUTCOMES
from tasks.synth.synthesize import synthesize
from tests.ingest.conftest import SmallSource
from tests.ingest.to_omop import CONFIG, to_omop

OUTCOMES_ASKED = [
    {"kind": "diagnoses", "min_count": 5},
    {"kind": "procedures", "min_count": 5},
    {"kind": "mortality"},
    {"kind": "length_of_stay"},
    {"kind": "death_after_discharge"},
    {"kind": "readmission", "exclude": ["same_day"]},
]


def ingested(config: IngestConfig, out: Path) -> dict[str, Any]:
    """What the stage's steps make: counts, the cohort, who was left out, labels of each outcome."""
    source = check_source(config)
    reading = source.reading(config.max_reject_share)

    def files(*names: str) -> Files:
        return Files(reading, source.paths(*names))

    notes = {name: write_notes(out / name, files(name).open(name)) for name in note_tables(config)}
    write_splits(out / "splits", files("patients"), config.split)
    used = files("admissions", "patients")
    write_cohort(out / "cohort", out / "discharge", out / "splits", used, config.view, ())
    cohort = tables.read(out / "cohort" / "admissions", ADMISSIONS)
    made: dict[str, Any] = {"notes": {name: counts["notes"] for name, counts in notes.items()}}
    made["cohort"] = cohort.sort_by("hadm_id").drop_columns(
        ["race", "insurance", "language", "admission_type"]
    )
    made["race"] = set(cohort["race"].to_pylist())
    made["left out"] = tables.read(out / "cohort" / "exclusions", EXCLUSIONS).to_pylist()
    for outcome in config.outcomes:
        folder = out / outcome.name
        write_outcome(folder, outcome, out / "cohort", files(*outcome.tables, *outcome.titles))
        labels = [row["code"] for row in tables.read(folder / "labels", LABELS).to_pylist()]
        made[outcome.name] = {
            row["hadm_id"]: (row["code_system"], [labels[index] for index in row["labels"]])
            for row in tables.read(folder / "outcomes", OUTCOMES).to_pylist()
        }
    write_quality(out / "quality", {name: out / name for name in notes}, used)
    return made


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(
        tmp_path_factory.mktemp("synth"), patients=150, seed=5, general_characters=1000
    ).source


def config_of(source: object, **more: object) -> IngestConfig:
    return IngestConfig.model_validate({"source": source, "outcomes": OUTCOMES_ASKED} | more)


@pytest.mark.parametrize("parquet", [False, True], ids=["csv", "parquet"])
def test_the_same_patients_get_the_same_labels_from_omop(
    mimic: Path, tmp_path: Path, parquet: bool
) -> None:
    omop = to_omop(mimic, tmp_path / "omop", parquet=parquet)
    from_omop = ingested(config_of({"kind": "omop", "path": omop, **CONFIG}), tmp_path / "ours")
    from_mimic = ingested(config_of(mimic), tmp_path / "mimic")
    assert from_omop.pop("race") == {"WHITE"}
    assert len(from_mimic.pop("race")) > 1
    assert from_omop.keys() == from_mimic.keys()
    for name in from_mimic:
        assert from_omop[name] == from_mimic[name], name
    systems = {system for system, _ in from_omop["diagnoses"].values()}
    assert systems >= {"icd9cm", "icd10cm"}


@pytest.fixture
def omop(source: SmallSource, tmp_path: Path) -> Path:
    """Twelve patients with a visit each; the first died."""
    for subject_id in range(10, 22):
        died = subject_id == 10
        source.patient(subject_id, dod="2152-01-05" if died else "")
        source.admission(subject_id, subject_id * 10, hospital_expire_flag=int(died))
        source.code("diagnoses_icd", subject_id, subject_id * 10, ("I10", 10))
        source.code("procedures_icd", subject_id, subject_id * 10, ("0DB", 10))
        source.note(subject_id, "", "Clear lungs.", kind="RR", table="note/radiology")
    return to_omop(source.write(), tmp_path / "omop")


def edited(folder: Path, table: str, old: str, new: str) -> None:
    path = folder / f"{table}.csv"
    path.write_text(path.read_text().replace(old, new))


def small(omop: Path, *outcomes: dict[str, Any], **more: Any) -> IngestConfig:
    named = {"kind": "omop", "path": omop, **CONFIG, **more.pop("named", {})}
    asked = list(outcomes) or [{"kind": "mortality"}]
    return config_of(named, outcomes=asked, max_reject_share=0.5, **more)


CODES = {"kind": "diagnoses", "min_count": 1}


def test_without_concepts_the_configuration_says_the_version(omop: Path, tmp_path: Path) -> None:
    (omop / "CONCEPT.csv").unlink()
    with pytest.raises(SourceError, match=r"no table concept.*or set ingest\.source\.icd_version"):
        check_source(small(omop, CODES))
    made = ingested(small(omop, CODES, named={"icd_version": 10}), tmp_path / "out")
    assert set(map(str, made["diagnoses"].values())) == {"('icd10cm', ['I10'])"}


def test_codes_of_other_vocabularies_are_left_out(omop: Path, tmp_path: Path) -> None:
    edited(omop, "CONDITION_OCCURRENCE", "21,210,I10,1000", "21,210,I10,7")  # of no known concept
    edited(omop, "CONDITION_OCCURRENCE", "20,200,I10,1000", "20,,I10,1000")  # of no visit
    made = ingested(small(omop, CODES), tmp_path / "out")
    unknown = [hadm_id for hadm_id, (system, _) in made["diagnoses"].items() if system is None]
    assert sorted(unknown) == [200, 210]


def test_where_the_visit_says_nothing_the_date_of_death_tells_how_it_ended(
    omop: Path, tmp_path: Path
) -> None:
    path = omop / "VISIT_OCCURRENCE.csv"
    path.write_text(path.read_text().replace(",581476", ",0").replace(",4216643", ","))
    died = {"mortality": {100: ("mortality", ["died"])}}
    alive = {hadm_id: ("mortality", []) for hadm_id in range(110, 220, 10)}
    assert ingested(small(omop), tmp_path / "out")["mortality"] == died["mortality"] | alive
    edited(omop, "DEATH", "2152-01-05", "2152-02-05")
    assert ingested(small(omop), tmp_path / "later")["mortality"][100] == ("mortality", [])
    edited(omop, "VISIT_OCCURRENCE", "2152-01-05,2152-01-05 12:00:00,", ",,")  # they go on
    with pytest.raises(SourceError, match="'mortality' is known of none of the 12 admissions"):
        ingested(small(omop), tmp_path / "on")


def test_only_notes_of_the_first_hours_are_read(omop: Path, tmp_path: Path) -> None:
    """They begin at 10:00 on the first; a date alone is known when its day has ended."""
    times = [f"2152-01-{time}:00" for time in ("02 09:59", "02 10:01", "01 00:00", "02 00:00")]
    text = (omop / "NOTE.csv").read_text()
    for patient, when in enumerate(times, 10):
        text = text.replace(
            f",{patient},{patient * 10},2152-01-05,2152-01-05 00:00:00",
            f",{patient},{patient * 10},{when[:10]},{when}",
        )
    (omop / "NOTE.csv").write_text(text)
    day = {"kind": "early", "before_hours": 24}
    made = ingested(small(omop, {**CODES, "predict_at": 24}, view=day), tmp_path / "out")
    assert made["cohort"]["hadm_id"].to_pylist() == [100, 120]
    assert {row["reason"] for row in made["left out"]} == {"no note before 24 hours"}
    with pytest.raises(ValidationError, match=r"known 24 hours after admission.*at admission"):
        small(omop, CODES, view=day)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("NOTE", r"lacks the table note \(\.parquet or \.csv\.gz or \.csv"),
        ("VISIT_OCCURRENCE", r"the table visit_occurrence"),
        ("PERSON", r"the table person"),
        ("DEATH", r"the table death"),
        ("CONDITION_OCCURRENCE", r"the table condition_occurrence"),
    ],
)
def test_a_table_that_is_missing_is_named(omop: Path, table: str, told: str) -> None:
    (omop / f"{table}.csv").unlink()
    with pytest.raises(SourceError, match=told):
        check_source(small(omop, CODES, {"kind": "mortality"}))


@pytest.mark.parametrize(
    ("table", "column", "told"),
    [
        ("NOTE", "NOTE_TITLE", r"the column note_title of NOTE\.csv"),
        ("NOTE", "NOTE_TEXT", r"the column note_text of NOTE\.csv"),
        ("VISIT_OCCURRENCE", "VISIT_CONCEPT_ID", r"the column visit_concept_id of VISIT"),
        ("CONDITION_OCCURRENCE", "VISIT_OCCURRENCE_ID", r"the column visit_occurrence_id of COND"),
    ],
)
def test_a_column_that_is_missing_is_named(omop: Path, table: str, column: str, told: str) -> None:
    edited(omop, table, column, "OTHER")
    with pytest.raises(SourceError, match=told):
        check_source(small(omop, CODES))


def test_what_omop_does_not_say_is_refused(omop: Path) -> None:
    with pytest.raises(SourceError, match=r"icu_stays, which this source of kind omop does not"):
        check_source(small(omop, {"kind": "ventilation"}))
    with pytest.raises(SourceError, match=r"admission_type of admissions, which no source of kind"):
        check_source(small(omop, {"kind": "readmission"}))
    no_reports = {"named": {"radiology": None}, "view": "radiology", "allow_leak": True}
    with pytest.raises(SourceError, match=r"radiology, which this source of kind omop does not"):
        check_source(small(omop, CODES, **no_reports))
    with pytest.raises(ValidationError, match="name the notes that are read"):
        small(omop, CODES, named={"notes": {}})


def test_bad_rows_are_named_without_their_content(omop: Path, tmp_path: Path) -> None:
    edited(omop, "VISIT_OCCURRENCE", "2152-01-01 10:00:00", "Quonvestible")
    with pytest.raises(SourceError, match=r"visit_start_datetime is not a time") as caught:
        ingested(small(omop, CODES), tmp_path / "out")
    assert "Quonvestible" not in str(caught.value)
