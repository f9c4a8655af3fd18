"""Admissions as tables have them at their worst: what is left out, and what is not known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.stays import AFTER_DEATH, NO_STAY
from tasks.schemas import ADMISSIONS
from tests.ingest.conftest import SmallSource
from tests.ingest.small_ingest import SmallIngest, day, stay, write_mimic_iii

Make = Callable[..., SmallIngest]


@pytest.fixture(params=["mimic-iv", "mimic-iii"])
def made(request: pytest.FixtureRequest, source: SmallSource, tmp_path: Path) -> Make:
    """Makes everything of one patient's stays, given in order; their hadm_ids are 101, 102, ..."""

    def make(*stays: dict[str, Any], dod: float | None = None) -> SmallIngest:
        source.patient(1, dod=day(dod)[:10])
        source.patient(2)
        for hadm_id, given_stay in enumerate(stays, 101):
            source.admission(1, hadm_id, **given_stay)
        source.admission(2, 900, **stay(0, 5))
        folder = source.write()
        if request.param == "mimic-iii":
            folder = write_mimic_iii(source, tmp_path / "iii")
        return SmallIngest(folder, tmp_path / "out")

    return make


def test_a_donors_account_begins_after_the_death_and_is_left_out(made: Make) -> None:
    outcomes = made(stay(0, 3.5, 1, 3.5), stay(3.501, 4.8), dod=3)
    assert outcomes.of(101) == (True, None, None, None)
    assert outcomes.of(102) == AFTER_DEATH
    assert outcomes.counts[f"excluded: {AFTER_DEATH}"] == 1
    assert outcomes.odd["admittime", "is after the patient's death"] == 1


@pytest.mark.parametrize(
    ("stays", "dod"),
    [
        ([stay(10, 12)], 5),  # a dod of before the admission
        ([stay(10, 12, 1, 9)], None),  # its own deathtime is before it began
        ([stay(10, 12, 1, 9)], 9),
        ([stay(10, 12, "", 9.9)], None),
        ([stay(10, 12, 0, 10)], None),  # dead at its first moment
        ([stay(10, 12), stay(2, 5, 1)], None),  # an earlier stay ended in death
        ([stay(10, 12), stay(2, 5, 0, 4)], None),  # an earlier one has a deathtime alone
        ([stay(5, 7), stay(2, 5, 1, 5)], None),  # it begins at the moment of death
    ],
)
def test_no_admission_of_the_dead_enters(
    made: Make, stays: list[dict[str, Any]], dod: float | None
) -> None:
    outcomes = made(*stays, dod=dod)
    assert outcomes.of(101) == AFTER_DEATH
    assert outcomes.odd["admittime", "is after the patient's death"] == 1


@pytest.mark.parametrize(("end", "check"), [(9, "is before admittime"), (10, "is admittime")])
def test_stays_of_no_length_are_left_out_and_are_no_return(
    made: Make, end: float, check: str
) -> None:
    outcomes = made(stay(0, 5), stay(10, end))
    assert outcomes.of(102) == NO_STAY
    assert outcomes.of(101) == (False, 1, None, False)  # whether that was a return is not known
    assert outcomes.odd["dischtime", check] == 1


def test_a_sound_return_counts_beside_one_of_no_length(made: Make) -> None:
    assert made(stay(0, 5), stay(10, 9), stay(20, 22)).of(101) == (False, 1, True, False)


def test_an_account_after_the_death_at_home_is_no_return(made: Make) -> None:
    outcomes = made(stay(0, 5), stay(12, 13), dod=10)
    assert outcomes.of(101) == (False, 1, False, True)
    assert outcomes.of(102) == AFTER_DEATH


@pytest.mark.parametrize(
    "odd",
    [
        stay(0, 5, ""),  # nothing is known
        stay(0, 5, "", 5),  # a deathtime, and no flag
        stay(0, 5, 0, 4),  # the flag denies the deathtime
        stay(0, 5, 0, 5),
        stay(0, 5, 1, 8),  # dead days after the discharge
    ],
)
def test_of_a_stay_that_contradicts_itself_nothing_is_known(made: Make, odd: Any) -> None:
    assert made(odd).of(101) == (None, None, None, None)


def test_a_flag_that_a_date_of_death_denies_is_not_believed(made: Make) -> None:
    outcomes = made(stay(0, 5), stay(20, 25), dod=22)
    assert outcomes.of(101) == (False, 1, True, True)
    assert outcomes.of(102) == (None, None, None, None)
    column = "hospital_expire_flag", "is contradicted by a date of death"
    assert outcomes.odd[column] == 1


def test_a_flag_of_death_whose_dod_is_years_later_is_not_believed(made: Make) -> None:
    assert made(stay(0, 5, 1), dod=800).of(101) == (None, None, None, None)


def test_a_death_without_a_deathtime_is_one(made: Make) -> None:
    outcomes = made(stay(0, 5.4, 1), dod=5)
    assert outcomes.of(101) == (True, None, None, None)
    assert outcomes.odd["deathtime", "is empty though the flag says death"] == 1


def test_the_outer_of_two_stays_did_not_leave_alive_what_the_inner_ended(made: Make) -> None:
    """The outer one ends hours after the death, on its day."""
    outcomes = made(stay(0, 10.4), stay(8, 10.2, 1, 10.2), dod=10)
    assert outcomes.of(101) == (None, None, None, None)
    assert outcomes.of(102) == (True, None, None, None)
    assert outcomes.odd["admittime", "is inside another admission of the patient"] == 1


def test_who_is_still_in_another_stay_has_not_left(made: Make) -> None:
    outcomes = made(stay(0, 10), stay(3, 5), stay(25, 26), dod=30)
    assert outcomes.of(101) == (False, 2, True, True)
    assert outcomes.of(102) == (False, 0, None, None)


def test_a_stay_that_another_one_follows_at_once_was_left(made: Make) -> None:
    outcomes = made(stay(0, 5), stay(5, 7, 1, 7))
    assert outcomes.of(101) == (False, 1, True, True)  # the transfer's death is known without a dod


def test_a_later_stay_that_ended_in_death_tells_of_it_without_a_dod(made: Make) -> None:
    outcomes = made(stay(0, 5), stay(40, 45), stay(60, 65, 1))
    assert outcomes.of(101) == (False, 1, False, False)
    assert outcomes.of(102) == (False, 1, True, True)


def test_an_outcome_that_is_known_of_nobody_is_refused(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.admission(1, 101, **stay(0, 5, ""))
    source.admission(1, 102, **stay(10, 15, ""))
    source.write()
    with pytest.raises(SourceError, match=r"'mortality' is known of none of the 2 .*end_unknown 2"):
        SmallIngest(source.folder, tmp_path / "out")


def test_ages_that_nobody_has_are_unknown(source: SmallSource, tmp_path: Path) -> None:
    for subject_id, age in ((1, 91), (2, 150), (3, -3), (4, 0), (5, 120)):
        source.patient(subject_id, anchor_age=age, anchor_year=2152)
        source.admission(subject_id, 100 + subject_id)
    source.write()
    SmallIngest(source.folder, tmp_path / "out")
    kept = tables.read(tmp_path / "out" / "cohort" / "admissions", ADMISSIONS).to_pylist()
    assert [row["age"] for row in kept] == [91, None, None, 0, 91]


def test_of_a_patient_who_stands_there_twice_either_date_of_death_counts(
    source: SmallSource, tmp_path: Path
) -> None:
    source.patient(1)
    source.patient(1, dod="2152-01-20")
    source.admission(1, 101, **stay(0, 5))
    outcomes = SmallIngest(source.write(), tmp_path / "out")
    assert outcomes.of(101) == (False, 1, False, True)
    assert outcomes.odd["subject_id", "occurs twice (rejected)"] == 1


def test_a_dod_that_cannot_be_read_is_no_survival(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1, dod="in May")
    source.patient(2)
    for subject_id in (1, 2):
        source.admission(subject_id, 100 + subject_id, **stay(0, 5))
    outcomes = SmallIngest(source.write(), tmp_path / "out")
    assert outcomes.of(101) == (False, 1, False, None)
    assert outcomes.of(102) == (False, 1, False, False)
    assert outcomes.odd["dod", "is not a time (rejected)"] == 1


HOURS = st.integers(0, 400)
STAYS = st.lists(
    st.tuples(HOURS, st.integers(-24, 150), st.sampled_from([0, 0, 0, 1, ""]), st.none() | HOURS),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(STAYS, st.none() | st.integers(-2, 20))
def test_in_whatever_order_times_stand(
    tmp_path_factory: pytest.TempPathFactory,
    histories: list[tuple[int, int, Any, int | None]],
    dod: int | None,
) -> None:
    """Told from the rows alone, one after the other, against what the stage makes of them."""
    folder = tmp_path_factory.mktemp("odd")
    source = SmallSource(folder / "source")
    source.patient(1, dod=day(dod)[:10])
    source.patient(2)
    source.admission(2, 900, **stay(0, 1))
    rows: dict[int, tuple[float, float, Any, float | None]] = {}
    for hadm_id, (begin, length, flag, death) in enumerate(histories, 101):
        hours = begin / 24, (begin + length) / 24, flag, None if death is None else death / 24
        rows[hadm_id] = hours
        source.admission(1, hadm_id, **stay(*hours))
    outcomes = SmallIngest(source.write(), folder / "out")
    ends = [end if death is None else death for _, end, flag, death in rows.values()
            if death is not None or flag == 1]  # fmt: skip
    deaths = [*ends, *([] if dod is None else [dod + 1])]
    for hadm_id, (begin, end, flag, _) in rows.items():
        dead = any(_not_later(death, begin) for death in deaths)
        reason = NO_STAY if end <= begin else AFTER_DEATH if dead else None
        assert outcomes.left_out.get(hadm_id) == reason
        if reason:
            continue
        died, length, readmitted, died_later = outcomes.of(hadm_id)
        if flag == "":
            assert (died, length, readmitted, died_later) == (None, None, None, None)
        if flag == 0:
            assert died is not True
        if any(_not_later(death, end) for death in deaths):
            assert died is not False
            assert length is readmitted is died_later is None
        if died_later is False:
            assert all(death > end + 30 for death in deaths)
        if readmitted:
            assert any(end <= other < end + 31 for other, *_ in rows.values())
    excluded = Counter(outcomes.left_out.values())
    assert outcomes.counts["source_admissions"] == len(rows) + 1
    assert outcomes.counts["admissions"] == len(rows) + 1 - excluded.total()
    for reason, count in excluded.items():
        assert outcomes.counts[f"excluded: {reason}"] == count


def _not_later(one: float, other: float) -> bool:
    return day(one) <= day(other)  # in seconds, as the files have them
