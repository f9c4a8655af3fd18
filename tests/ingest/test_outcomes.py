"""Labels, what is observed of them, and their titles."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks import tables
from tasks.errors import ConfigError
from tasks.ingest.outcomes.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
)
from tasks.ingest.write import write_outcome
from tasks.schemas import ADMISSIONS, LABELS, OUTCOMES
from tests.ingest.conftest import SmallSource


def make(
    source: SmallSource, out: Path, config: OutcomeConfig, *, split: str = "train", note: str = "x"
) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """Outcome rows by hadm_id, label rows, counts, of the source's admissions as the cohort."""
    source.write()
    stays = source.rows["hosp/admissions"]
    cohort = pa.Table.from_pylist(
        [
            {
                "hadm_id": stay["hadm_id"],
                "subject_id": stay["subject_id"],
                "split": stay.get("split", split),
                "admittime": _time(stay["admittime"]),
                "dischtime": _time(stay["dischtime"]),
                "admission_type": stay["admission_type"],
                "age": stay.get("age"),
                "note": stay.get("note", note),
            }
            for stay in stays
        ],
        ADMISSIONS,
    )
    tables.write(out / "cohort" / "admissions" / "part-0.parquet", ADMISSIONS, cohort)
    files = source.files(*config.tables, *config.titles)
    counts = write_outcome(out / "outcome", config, out / "cohort", files)
    outcomes = tables.read(out / "outcome" / "outcomes", OUTCOMES).to_pylist()
    labels = tables.read(out / "outcome" / "labels", LABELS).to_pylist()
    return {row["hadm_id"]: row for row in outcomes}, labels, counts


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def names(row: dict[str, Any], labels: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(labels[index]["code_system"], labels[index]["code"]) for index in row["labels"]}


def admit(source: SmallSource, *hadm_ids: int) -> None:
    for hadm_id in hadm_ids:
        source.admission(1, hadm_id, note=None)


@pytest.fixture
def coded(source: SmallSource) -> SmallSource:
    """101 in ICD-9, 102 in ICD-10, 103 mixed (more of 9), 104 without diagnoses."""
    admit(source, 101, 102, 103, 104)
    source.code("diagnoses_icd", 1, 101, ("V5861", 9), ("4019", 9), ("0388", 9), ("E8497", 9))
    source.code("diagnoses_icd", 1, 102, ("V586", 10), ("I10", 10), ("E1122", 10))
    source.code("diagnoses_icd", 1, 103, ("4019", 9), ("40291", 9), ("I10", 10))
    return source


def test_both_versions_share_a_label_space_keyed_by_system_and_code(
    coded: SmallSource, tmp_path: Path
) -> None:
    coded.code("diagnoses_icd", 1, 104, ("V586", 10))
    outcomes, labels, _ = make(coded, tmp_path, DiagnosesConfig(min_count=1, grouping="category"))
    assert names(outcomes[101], labels) == {
        ("icd9cm", code) for code in ("V586", "401", "038", "E849")
    }
    assert names(outcomes[102], labels) == {("icd10cm", code) for code in ("V58", "I10", "E11")}
    full, labels, _ = make(coded, tmp_path, DiagnosesConfig(min_count=1, grouping="full"))
    assert ("icd10cm", "V586") in names(full[104], labels)
    assert ("icd9cm", "V5861") in names(full[101], labels)
    assert [label["index"] for label in labels] == list(range(len(labels)))


def test_the_version_comes_from_the_diagnoses_and_other_rows_are_dropped(
    coded: SmallSource, tmp_path: Path
) -> None:
    outcomes, labels, counts = make(coded, tmp_path, DiagnosesConfig(min_count=1))
    assert {key: row["code_system"] for key, row in outcomes.items()} == {
        101: "icd9cm",
        102: "icd10cm",
        103: "icd9cm",
        104: None,
    }
    assert names(outcomes[103], labels) == {("icd9cm", "401"), ("icd9cm", "402")}
    assert not outcomes[104]["observed"]
    assert counts["admissions_of_mixed_version"] == 1
    assert counts["code_rows_of_another_version"] == 1
    assert (counts["observed_icd9"], counts["observed_icd10"]) == (2, 1)


def test_asking_for_one_version_leaves_the_other_unobserved(
    coded: SmallSource, tmp_path: Path
) -> None:
    config = DiagnosesConfig(min_count=1, icd_versions="10")
    outcomes, labels, _ = make(coded, tmp_path, config)
    assert [key for key, row in outcomes.items() if row["observed"]] == [102]
    assert {label["code_system"] for label in labels} == {"icd10cm"}


def test_a_label_needs_its_count_in_training_alone(source: SmallSource, tmp_path: Path) -> None:
    admit(source, 101, 102, 103, 104)
    source.rows["hosp/admissions"][3]["split"] = "test"
    source.rows["hosp/admissions"][2]["split"] = "test"
    stays = source.rows["hosp/admissions"]
    splits = {stay["hadm_id"]: stay.pop("split", "train") for stay in stays}
    source.code("diagnoses_icd", 1, 101, ("4019", 9), ("4011", 9), ("25000", 9))
    source.code("diagnoses_icd", 1, 102, ("4010", 9))
    source.code("diagnoses_icd", 1, 103, ("25000", 9))
    source.code("diagnoses_icd", 1, 104, ("25000", 9), ("4019", 9))
    source.write()
    for stay in stays:
        stay["split"] = splits[stay["hadm_id"]]
    outcomes, labels, _ = _without_rewriting(source, tmp_path, DiagnosesConfig(min_count=2))
    assert [(label["code"], label["train"], label["test"]) for label in labels] == [("401", 2, 1)]
    assert outcomes[103]["observed"]
    assert outcomes[103]["labels"] == []


def _without_rewriting(source: SmallSource, out: Path, config: OutcomeConfig) -> Any:
    source.write = lambda: source.folder  # type: ignore[method-assign]
    return make(source, out, config)


def test_codes_are_strings_cleaned_of_blanks_dots_and_case(
    source: SmallSource, tmp_path: Path
) -> None:
    admit(source, 101)
    padded = (" 003.1 ", 9), ("v58.61\u00a0", 9), ("0031", 9), ("   ", 9), ("4019", 11), ("-", 9)
    source.code("diagnoses_icd", 1, 101, *padded)
    outcomes, labels, counts = make(source, tmp_path, DiagnosesConfig(min_count=1, grouping="full"))
    assert names(outcomes[101], labels) == {("icd9cm", "0031"), ("icd9cm", "V5861")}
    assert counts["rejected"] == 3


def test_procedures_without_rows_are_negative_or_left_out(
    coded: SmallSource, tmp_path: Path
) -> None:
    coded.code("procedures_icd", 1, 101, ("0331", 9), ("3310", 9), ("02HV33Z", 10))
    coded.code("procedures_icd", 1, 104, ("3310", 9))
    outcomes, labels, counts = make(coded, tmp_path, ProceduresConfig(min_count=1))
    assert names(outcomes[101], labels) == {("icd9pcs", "033"), ("icd9pcs", "331")}
    assert outcomes[102] == {
        "hadm_id": 102,
        "observed": True,
        "code_system": "icd10pcs",
        "labels": [],
    }
    assert not outcomes[104]["observed"]  # no diagnosis says in which version it was coded
    assert counts["admissions_without_codes"] == 2
    config = ProceduresConfig(min_count=1, no_codes="exclude")
    outcomes, _, _ = make(coded, tmp_path, config)
    assert [key for key, row in outcomes.items() if row["observed"]] == [101]


def test_icd_10_procedures_are_grouped_by_four_characters(
    coded: SmallSource, tmp_path: Path
) -> None:
    coded.code("procedures_icd", 1, 102, ("02HV33Z", 10), ("5A1955Z", 10), ("BW2", 10))
    outcomes, labels, _ = make(coded, tmp_path, ProceduresConfig(min_count=1))
    assert {code for _, code in names(outcomes[102], labels)} == {"02HV", "5A19", "BW2"}


def test_rows_of_another_patient_are_not_used(coded: SmallSource, tmp_path: Path) -> None:
    coded.code("diagnoses_icd", 2, 101, ("99999", 9))
    outcomes, labels, counts = make(coded, tmp_path, DiagnosesConfig(min_count=1))
    assert ("icd9cm", "999") not in names(outcomes[101], labels)
    assert counts["code_rows_of_another_patient"] == 1


def test_a_vocabulary_without_labels_says_what_to_lower(coded: SmallSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="held by 9 of the 4 training admissions; lower"):
        make(coded, tmp_path, DiagnosesConfig(min_count=9))


def test_mortality_and_the_notes_that_give_it_away(source: SmallSource, tmp_path: Path) -> None:
    notes = {
        101: (1, "PRESENT ILLNESS: well"),
        102: (0, "PRESENT ILLNESS: well\n\nFAMILY HISTORY: father, he expired of MI"),
        103: (1, "PRESENT ILLNESS: arrived; the patient expired"),
        104: (1, "PRESENT ILLNESS: in the ED she expired\n\nSOCIAL HISTORY: ___"),
        105: (1, "MEDICAL HISTORY: Time of death 10:00"),
        106: ("", "PRESENT ILLNESS: well"),
        107: (7, "PRESENT ILLNESS: well"),
    }
    for hadm_id, (flag, _) in notes.items():
        source.admission(hadm_id, hadm_id, note=None, hospital_expire_flag=flag)
    stays = source.rows["hosp/admissions"]
    source.write()
    for stay in stays:
        stay["note"] = notes[stay["hadm_id"]][1]
    outcomes, labels, counts = _without_rewriting(source, tmp_path, MortalityConfig())
    observed = {key: row["labels"] for key, row in outcomes.items() if row["observed"]}
    assert observed == {101: [0], 102: []}
    assert [(label["code_system"], label["code"]) for label in labels] == [("mortality", "died")]
    assert counts["death_told_in_note"] == 3
    assert counts["end_unknown"] == 2
    assert counts["rejected"] == 1
