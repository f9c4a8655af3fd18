"""Prolonged ventilation: hand-made ICU stays and intervals, expected values by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.ingest.outcomes.config import VentilationConfig
from tests.ingest.conftest import SmallSource
from tests.ingest.test_outcomes import make
from tests.ingest.test_stays import after, labels_of


class Ventilated:
    """Admissions of adults with one ICU stay each, and intervals of invasive ventilation in it."""

    def __init__(self, source: SmallSource) -> None:
        self.source = source

    def add(self, hadm_id: int, *intervals: tuple[float, float], **more: Any) -> None:
        subject_id = more.pop("subject_id", 1)
        self.source.admission(subject_id, hadm_id, note=None, dischtime=after(60), age=70, **more)
        self.stay(hadm_id, hadm_id + 1000, 0.0, subject_id)
        self.events(hadm_id + 1000, *intervals)

    def stay(self, hadm_id: int, stay_id: int, start: float, subject_id: int = 1) -> None:
        row = {"subject_id": subject_id, "hadm_id": hadm_id, "stay_id": stay_id}
        row |= {"intime": after(start)}
        self.source.rows["icu/icustays"].append(row)

    def events(self, stay_id: int, *intervals: tuple[float, float], item: int = 225792) -> None:
        for start, end in intervals:
            row = {"stay_id": stay_id, "itemid": item}
            row |= {"starttime": after(start), "endtime": after(end)}
            self.source.rows["icu/procedureevents"].append(row)


@pytest.fixture
def ventilated(source: SmallSource) -> Ventilated:
    made = Ventilated(source)
    made.add(101, (0, 6.75))  # with the quarter day of the published rule exactly seven days
    made.add(102, (0, 6.74))
    made.add(103, (0, 1), (6.5, 7))  # a long gap
    made.add(104, (0, 3), (3.5, 7.1))  # a gap of 12 hours
    made.add(105, (0, 1.7))  # under two days
    made.add(106)
    made.add(107, (3, 12), (0, 1), (0.5, 1.2))  # out of order, overlapping
    return made


def test_prolonged_ventilation_by_the_published_rule(
    ventilated: Ventilated, tmp_path: Path
) -> None:
    outcomes, _, counts = make(ventilated.source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {
        101: [0],
        102: [],
        103: [0],
        104: [0],
        105: None,
        106: None,
        107: [0],
    }
    assert (counts["never_ventilated"], counts["ventilated_under_two_days"]) == (1, 1)


def test_prolonged_ventilation_by_episodes(ventilated: Ventilated, tmp_path: Path) -> None:
    outcomes, _, _ = make(ventilated.source, tmp_path, VentilationConfig(rule="episode"))
    assert labels_of(outcomes) == {
        101: [],
        102: [],
        103: None,  # one day at most
        104: [0],
        105: None,
        106: None,
        107: [0],
    }


def test_only_invasive_ventilation_of_the_first_icu_stay_counts(
    source: SmallSource, tmp_path: Path
) -> None:
    made = Ventilated(source)
    made.add(101, (0, 3))
    made.stay(101, 5, 10)
    made.events(5, (10, 30))
    made.events(1101, (3, 20), item=225794)
    made.events(1101, (4, 2))  # ends before it starts
    outcomes, _, _ = make(source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {101: []}


def test_who_is_not_meant_by_prolonged_ventilation(source: SmallSource, tmp_path: Path) -> None:
    made = Ventilated(source)
    codes = {101: ("1410", 9), 102: ("C0190", 10), 103: ("35801", 9), 104: ("T3140", 10)}
    others = {105: ("C150", 10), 106: ("T3110", 10), 107: ("1500", 9), 108: ("94820", 9)}
    for hadm_id, code in (codes | others).items():
        made.add(hadm_id, (0, 9))
        source.code("diagnoses_icd", 1, hadm_id, code)
    made.add(109, (0, 9))
    source.rows["hosp/admissions"][-1]["age"] = 17
    outcomes, _, counts = make(source, tmp_path, VentilationConfig())
    assert [key for key, value in labels_of(outcomes).items() if value is None] == [*codes, 109]
    assert (counts["excluded_diagnosis"], counts["under_18"]) == (4, 1)


def test_death_on_the_ventilator_before_day_seven(source: SmallSource, tmp_path: Path) -> None:
    made = Ventilated(source)
    made.add(101, (0, 3), deathtime=after(3.02))
    made.add(102, (0, 3), deathtime=after(5))  # off the ventilator
    made.add(103, (0, 9), deathtime=after(9))  # after day seven
    outcomes, _, counts = make(source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {101: [], 102: [], 103: [0]}
    assert counts["died_on_ventilator_before_day_7"] == 1
    config = VentilationConfig(death_on_ventilator="exclude")
    assert labels_of(make(source, tmp_path, config)[0]) == {101: None, 102: [], 103: [0]}


def test_icu_stays_that_overlap_are_one(source: SmallSource, tmp_path: Path) -> None:
    """Stays as a move within the unit leaves them; the third begins as both are over."""
    made = Ventilated(source)
    made.add(101, (0, 3))
    source.rows["icu/icustays"][0]["outtime"] = after(5)
    for stay_id, begin, end in ((5, 0.5, 8), (6, 9, 20)):
        made.stay(101, stay_id, begin)
        source.rows["icu/icustays"][-1]["outtime"] = after(end)
    made.events(5, (3, 7.5))
    made.events(6, (10, 12))
    outcomes, _, _ = make(source, tmp_path, VentilationConfig(rule="episode"))
    assert labels_of(outcomes) == {101: [0]}


def test_an_icu_stay_that_ends_before_it_begins_may_have_been_the_first(
    source: SmallSource, tmp_path: Path
) -> None:
    made = Ventilated(source)
    for hadm_id in (101, 102):
        made.add(hadm_id, (0, 9))
    made.stay(102, 5, 2)
    source.rows["icu/icustays"][-1]["outtime"] = after(1)
    outcomes, _, counts = make(source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {101: [0], 102: None}
    assert counts["icu_stay_of_no_length"] == 1


def test_icu_stays_twice_or_of_another_patient_change_nothing(
    source: SmallSource, tmp_path: Path
) -> None:
    made = Ventilated(source)
    made.add(101, (0, 9))
    made.stay(101, 1101, 0)  # once more
    made.stay(101, 5, -1)  # begun before, by someone else
    source.rows["icu/icustays"][-1]["subject_id"] = 7
    outcomes, _, counts = make(source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {101: [0]}
    assert counts["rejected"] == 1


def test_ventilation_after_the_death_says_nothing(source: SmallSource, tmp_path: Path) -> None:
    made = Ventilated(source)
    made.add(101, (0, 9), deathtime=after(4), hospital_expire_flag=1)
    made.add(102, (0, 9), deathtime=after(8.5), hospital_expire_flag=1)
    outcomes, _, counts = make(source, tmp_path, VentilationConfig())
    assert labels_of(outcomes) == {101: None, 102: [0]}
    assert counts["ventilated_after_death"] == 1


def test_a_death_without_a_deathtime_is_one_on_the_ventilator(
    source: SmallSource, tmp_path: Path
) -> None:
    made = Ventilated(source)
    made.add(101, (0, 3), hospital_expire_flag=1)
    source.rows["hosp/admissions"][-1]["dischtime"] = after(3)
    made.add(102, (0, 3), subject_id=2)
    config = VentilationConfig(death_on_ventilator="exclude")
    outcomes, _, counts = make(source, tmp_path, config)
    assert labels_of(outcomes) == {101: None, 102: []}
    assert counts["died_on_ventilator_before_day_7"] == 1
