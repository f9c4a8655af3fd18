"""Outcomes of the stay itself and of what follows: hand-made stays, expected values by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, SourceError
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    LengthOfStayConfig,
    MortalityConfig,
    OwnOutcomeConfig,
    ReadmissionConfig,
)
from tests.ingest.conftest import SmallSource
from tests.ingest.test_outcomes import make

START = np.datetime64("2152-01-01T10:00:00")


def after(days: float) -> str:
    return str(START + np.timedelta64(round(days * 86400), "s")).replace("T", " ")


def labels_of(outcomes: dict[int, dict[str, Any]]) -> dict[int, list[int] | None]:
    """The labels of each admission, None where it is unobserved."""
    return {key: row["labels"] if row["observed"] else None for key, row in outcomes.items()}


def test_length_of_stay_has_four_classes_and_no_deaths(source: SmallSource, tmp_path: Path) -> None:
    stays = {101: 3.0, 102: 3.001, 103: 7.0, 104: 14.0, 105: 14.01, 106: 0.2, 107: 5.0}
    for hadm_id, days in stays.items():
        died = int(hadm_id == 107)
        more = {"dischtime": after(days), "hospital_expire_flag": died}
        source.admission(hadm_id, hadm_id, note=None, **more)
    outcomes, labels, counts = make(source, tmp_path, LengthOfStayConfig())
    assert labels_of(outcomes) == {
        101: [0],
        102: [1],
        103: [1],
        104: [2],
        105: [3],
        106: [0],
        107: None,
    }
    assert [label["code"] for label in labels] == ["<=3", "(3,7]", "(7,14]", ">14"]
    assert all(label["one_of"] for label in labels)
    assert counts["ended_in_death"] == 1
    later, _, counts = make(source, tmp_path, LengthOfStayConfig(predict_at=24))
    assert labels_of(later)[106] is None  # it was over by then
    assert counts["ended_before_prediction"] == 1


def test_death_after_discharge_is_compared_by_date(source: SmallSource, tmp_path: Path) -> None:
    deaths = {1: "2152-02-04", 2: "2152-02-05", 3: "2152-01-05", 4: "2152-01-02", 5: "", 6: ""}
    for subject_id, day in deaths.items():
        source.patient(subject_id, dod=day)
        died = int(subject_id == 6)
        source.admission(subject_id, 100 + subject_id, note=None, hospital_expire_flag=died)
    outcomes, labels, counts = make(source, tmp_path, DeathAfterDischargeConfig())
    # discharged at noon on the fifth of January: thirty days later is the fourth of February
    assert labels_of(outcomes) == {101: [0], 102: [], 103: [0], 104: None, 105: [], 106: None}
    assert labels[0]["code"] == "30d"
    assert (counts["end_unknown"], counts["ended_in_death"]) == (1, 1)


@pytest.fixture
def returning(source: SmallSource) -> SmallSource:
    """Each patient's second admission, after the first ended at noon on the fifth of January."""
    returns = {
        1: ("EW EMER.", "2152-01-20 08:00:00"),
        2: ("EW EMER.", "2152-02-04 12:00:00"),  # thirty days to the second
        3: ("EW EMER.", "2152-02-04 12:00:01"),
        4: ("ELECTIVE", "2152-01-20 08:00:00"),
        5: ("EU OBSERVATION", "2152-01-20 08:00:00"),
        6: ("EW EMER.", "2152-01-05 20:00:00"),
    }
    for subject_id, (kind, admitted) in returns.items():
        source.admission(subject_id, 100 + subject_id, note=None)
        more = {"admittime": admitted, "dischtime": "2152-03-01 08:00:00", "admission_type": kind}
        source.admission(subject_id, 200 + subject_id, note=None, **more)
    return source


def test_readmission_within_thirty_days(returning: SmallSource, tmp_path: Path) -> None:
    outcomes, _, counts = make(returning, tmp_path, ReadmissionConfig())
    first = {key: value for key, value in labels_of(outcomes).items() if key < 200}
    assert first == {101: [0], 102: [0], 103: [], 104: [], 105: [], 106: []}
    assert all(value == [] for key, value in labels_of(outcomes).items() if key > 200)
    assert counts["admissions_that_are_no_return"] == 2
    every, _, _ = make(returning, tmp_path, ReadmissionConfig(exclude=()))
    assert [key for key, value in labels_of(every).items() if value] == [101, 102, 104, 105, 106]


def test_a_return_behind_one_that_does_not_count(returning: SmallSource, tmp_path: Path) -> None:
    more = {"admittime": "2152-01-25 08:00:00", "dischtime": "2152-01-26 08:00:00"}
    returning.admission(4, 304, note=None, **more)
    returning.admission(3, 303, note=None, **more | {"hospital_expire_flag": 1})
    outcomes, _, _ = make(returning, tmp_path, ReadmissionConfig())
    assert labels_of(outcomes)[104] == [0]
    assert labels_of(outcomes)[103] == [0]
    assert labels_of(outcomes)[303] is None  # the patient left it dead


def test_who_died_before_the_prediction_is_left_out(source: SmallSource, tmp_path: Path) -> None:
    for hadm_id, death in ((101, 0.9), (102, 1.1)):
        more = {"deathtime": after(death), "hospital_expire_flag": 1, "dischtime": after(1.3)}
        source.admission(hadm_id, hadm_id, note=None, **more)
    outcomes, _, counts = make(source, tmp_path, MortalityConfig(predict_at=24))
    assert labels_of(outcomes) == {101: None, 102: [0]}
    assert counts["ended_before_prediction"] == 1


def write_own(path: Path, labels: object, kind: pa.DataType) -> OwnOutcomeConfig:
    ids = pa.array([101, 102, 103, 999])
    pq.write_table(pa.table({"hadm_id": ids, "labels": pa.array(labels, kind)}), path)
    return OwnOutcomeConfig(name="mine", file=path, min_count=1)


def test_an_outcome_of_ones_own(source: SmallSource, tmp_path: Path) -> None:
    for hadm_id in (101, 102, 103, 104):
        source.admission(1, hadm_id, note=None)
    given = [["b", "a"], [], None, ["c"]]
    several = write_own(tmp_path / "s.parquet", given, pa.list_(pa.string()))
    outcomes, labels, counts = make(source, tmp_path, several)
    assert [label["code"] for label in labels] == ["a", "b"]
    assert labels_of(outcomes) == {101: [0, 1], 102: [], 103: None, 104: None}
    assert counts["rows_outside_the_cohort"] == 2
    one = write_own(tmp_path / "o.parquet", ["x", "y", None, "x"], pa.string())
    outcomes, labels, _ = make(source, tmp_path, one.model_copy(update={"one_of": True}))
    assert labels_of(outcomes) == {101: [0], 102: [1], 103: None, 104: None}
    assert all(label["one_of"] for label in labels)


def test_a_file_of_ones_own_that_is_wrong_is_refused(source: SmallSource, tmp_path: Path) -> None:
    source.admission(1, 101, note=None)
    path = tmp_path / "wrong.parquet"
    path.write_text("not Parquet")
    config = OwnOutcomeConfig(name="mine", file=path, min_count=1)
    with pytest.raises(SourceError, match=r"wrong\.parquet cannot be read as Parquet"):
        make(source, tmp_path, config)
    two = write_own(path, [["a", "b"], [], None, []], pa.list_(pa.string()))
    source.admission(1, 102, note=None)
    with pytest.raises(SourceError, match="2 admissions do not have exactly one"):
        make(source, tmp_path, two.model_copy(update={"one_of": True}))
    with pytest.raises(ConfigError, match="no label is held by 5"):
        make(source, tmp_path, two.model_copy(update={"min_count": 5}))
    pq.write_table(pa.table({"hadm_id": [101, 101], "labels": [["a"], ["b"]]}), path)
    with pytest.raises(SourceError, match="occurs twice"):
        make(source, tmp_path, config)
