"""Which admissions form the cohort, why the others do not, and how patients are split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest import cohort as reasons
from tasks.ingest.config import AdmissionView, SplitConfig, View
from tasks.ingest.rejects import Rejects
from tasks.ingest.splits import split_patients
from tasks.ingest.views import NoteView
from tasks.ingest.write import write_cohort, write_notes, write_splits
from tasks.schemas import ADMISSIONS, EXCLUSIONS, SPLITS
from tests.ingest.conftest import SmallSource

ADMISSION = AdmissionView()


def build(
    source: SmallSource,
    out: Path,
    config: SplitConfig | None = None,
    *,
    view: View = ADMISSION,
    excluded: tuple[str, ...] = (),
) -> tuple[pa.Table, dict[int, str], dict[str, int]]:
    source.write()
    files = source.files("discharge", "radiology", "patients", "admissions")
    table = NoteView(view).table
    write_notes(out / "notes", files.open(table))
    write_splits(out / "splits", files, config or SplitConfig())
    parts = out / "notes", out / "splits", files
    counts = write_cohort(out / "cohort", *parts, view, excluded)
    left_out = tables.read(out / "cohort" / "exclusions", EXCLUSIONS).to_pylist()
    kept = tables.read(out / "cohort" / "admissions", ADMISSIONS)
    return kept, {row["hadm_id"]: row["reason"] for row in left_out}, counts


def test_every_admission_is_in_the_cohort_or_left_out_for_one_reason(
    source: SmallSource, tmp_path: Path
) -> None:
    for subject_id in range(1, 8):
        source.patient(subject_id)
    source.admission(1, 101)
    source.admission(2, 102, note=None)
    source.admission(3, 103, note="Allergies:\nnone\n")
    source.admission(4, 104, dischtime="2152-01-01 10:00:00")
    source.admission(99, 105)
    source.admission(5, 106, note=None)
    source.note(6, 106, "Chief Complaint:\npain\n")
    source.admission(7, 107, admittime="at night")
    source.note(1, 999, "Chief Complaint:\nof no admission\n")
    kept, left_out, counts = build(source, tmp_path)
    assert kept["hadm_id"].to_pylist() == [101]
    assert left_out == {
        102: "no discharge note",
        103: "no chief complaint, present illness or history",
        104: reasons.NO_STAY,
        105: reasons.NO_PATIENT,
        106: reasons.OTHER_PATIENT,
    }
    assert counts["source_admissions"] == 7
    assert counts["rejected_admissions"] == 1
    assert sum(count for name, count in counts.items() if name.startswith("excluded")) == 5


def test_what_an_admission_says_of_itself(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1, anchor_age=60, anchor_year=2150, gender="M")
    source.patient(2, anchor_age=91, anchor_year=2150)
    source.patient(3, anchor_age=88, anchor_year=2150)
    source.admission(1, 101, race="WHITE", insurance="Medicare", language="ENGLISH")
    source.admission(2, 102)
    source.admission(3, 103)
    kept, _, _ = build(source, tmp_path)
    rows = {row["hadm_id"]: row for row in kept.to_pylist()}
    assert {key: row["age"] for key, row in rows.items()} == {101: 62, 102: 91, 103: 91}
    assert rows[101]["sex"] == "M"
    assert rows[101]["race"] == "WHITE"
    assert rows[101]["note"] == "CHIEF COMPLAINT: pain"


def test_notes_of_an_admission_are_joined_summaries_first(
    source: SmallSource, tmp_path: Path
) -> None:
    source.patient(1)
    source.admission(1, 101, note=None)
    source.note(1, 101, "Chief Complaint:\nlate addition\n", seq=1, kind="AD")
    source.note(1, 101, "Chief Complaint:\nsecond\n", seq=3)
    source.note(1, 101, "Chief Complaint:\nfirst\n", seq=2)
    kept, _, counts = build(source, tmp_path)
    assert kept["note"].to_pylist() == ["CHIEF COMPLAINT: first second late addition"]
    assert counts["admissions_with_several_notes"] == 1


def test_a_source_of_which_nothing_remains_is_an_error(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.admission(1, 101, note=None)
    with pytest.raises(SourceError, match=r"no admission remains \(1 no discharge note"):
        build(source, tmp_path)


def test_tables_of_a_header_alone_are_an_error(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.note(1, 101, "Chief Complaint:\npain\n")
    with pytest.raises(SourceError, match=r"no admission remains \(no rows\)"):
        build(source, tmp_path)


def test_a_patient_that_the_splits_file_does_not_name_is_left_out(
    source: SmallSource, tmp_path: Path
) -> None:
    for subject_id in (1, 2, 3, 4):
        source.patient(subject_id)
        source.admission(subject_id, 100 + subject_id)
    file = tmp_path / "splits.csv"
    file.write_text("subject_id,split,note\n1,train,x\n2,Val,y\n3,test,z\n77,dev,elsewhere\n")
    kept, left_out, _ = build(source, tmp_path, SplitConfig(method="file", file=file))
    assert kept["split"].to_pylist() == ["train", "validation", "test"]
    assert left_out == {104: reasons.NO_SPLIT}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject_id,split\n7,train\n8,test\n", "names 2 patients, none of which is in the source"),
        ("subject_id,split\n1,train\n1,test\n", "puts 1 patients into more than one split"),
        ("subject_id,split\n1,train\n2,holdout\n", "line 3: split is none of train"),
        ("patient,split\n1,train\n", "lacks the column subject_id"),
    ],
)
def test_a_splits_file_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "splits.csv"
    file.write_text(text)
    config = SplitConfig(method="file", file=file)
    with pytest.raises(SourceError, match=message):
        split_patients(pa.array([1, 2, 3]), config, Rejects(file.name, 0.1))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(10**7, 2 * 10**7), min_size=1), st.sets(st.integers(10**7, 2 * 10**7)))
def test_a_patient_keeps_its_split_when_a_release_adds_others(
    before: set[int], added: set[int]
) -> None:
    first, second = _splits(before), _splits(before | added)
    assert {subject: second[subject] for subject in before} == first


def test_the_shares_and_the_key_of_the_hash_are_obeyed() -> None:
    counts = Counter(_splits(set(range(20_000))).values())
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.1) < 0.01
    assert _splits(set(range(100)), key="other") != _splits(set(range(100)))


def _splits(subjects: set[int], key: str = "clinfuse") -> dict[int, str]:
    table = split_patients(pa.array(list(subjects)), SplitConfig(key=key), Rejects("", 0))
    assert table.schema == SPLITS
    return dict(zip(*table.to_pydict().values(), strict=True))
