"""Prolonged mechanical ventilation (PMV)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.lookup import match_admissions, row_of
from tasks.ingest.outcomes.codes import of_cohort
from tasks.ingest.outcomes.config import VentilationConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.times import DAY, HOUR, Times, latest_end_so_far, times

LABEL = ("ventilation", "prolonged")
_LONG, _SHORT = 7 * DAY, 2 * DAY
_SLACK = DAY // 4  # of the published rule, added to the last end
_SAME_EPISODE = 14 * HOUR  # mimic-code's gap in MIMIC-IV's ventilation concept
_AT_THE_END = HOUR  # a death this soon after the last end was on the ventilator
_ADULT = 18  # years

# Patients whom Clinical XLNet's cohort leaves out: cancer of head, face and neck; myasthenia
# gravis and similar; burns of head, face and neck or of 30% of the body and more; organ donors.
# ICD-10 by the general equivalence map (35801 G7001, 3589 G709, 3590 G712, 3591 G710; burns 941
# T20, 948.3-9 T31.3-9), and corrosions of the same extent.
_EXCLUDED = {
    9: r"^(14\d|3589|3590|3591|35801|941|948[3-9]|V59)",
    10: r"^(C0\d|C1[0-4]|G7001|G709|G710|G712|T20|T3[12][3-9]|Z52)",
}


@dataclass(frozen=True)
class Ventilated:
    """The invasive ventilation of each admission's first ICU stay; all arrays [admissions].

    Times are NaT where there was none. `longest` is the length of the longest episode: intervals
    merged over gaps of less than 14 hours.
    """

    start: Times
    end: Times
    longest: NDArray[np.timedelta64]


def ventilation(inputs: Inputs, config: VentilationConfig) -> Counted:
    """Whether invasive ventilation in the first ICU stay lasts seven days or more.

    span: last end + 0.25 days >= first start + 7 days, gaps ignored (Huang et al. 2020, Clinical
    XLNet, whose cohort the paper takes by way of BEEP). episode: the longest episode lasts seven
    days. The negatives were ventilated for at least two days; all others are unobserved: under two
    days, under 18 years, or with a diagnosis that calls for other ventilation. A death on the
    ventilator before day 7 is negative or unobserved, as configured, and counted. Overlapping ICU
    stays count as one. Also unobserved are admissions with an ICU stay of no positive length, as
    it may have been the first, and those ventilated for more than a day after their death.
    """
    stays, wrong = _icu_stays(inputs)
    course = _ventilated(inputs, stays)
    ventilated = ~np.isnat(course.start)
    lasted = course.end - course.start + _SLACK if config.rule == "span" else course.longest
    positive = ventilated & (lasted >= _LONG)
    short = ventilated & ~(lasted >= _SHORT)
    minor = pc.fill_null(pc.less(inputs.cohort["age"], _ADULT), True).to_numpy()
    excluded = _has_excluded_diagnosis(inputs)
    death = inputs.stays.death
    after_death = ventilated & (course.end - death > DAY)
    # less than seven days after the start, and on the ventilator
    died = (
        ventilated
        & ~positive
        & (death <= course.end + _AT_THE_END)
        & (death - course.start < _LONG)
    )
    observed = ventilated & ~short & ~minor & ~excluded & ~wrong & ~after_death
    died &= observed
    if config.death_on_ventilator == "exclude":
        observed &= ~died
    outcome = Outcome.yes_or_no(LABEL, "Ventilated for seven days or more", observed, positive)
    counted = {
        "never_ventilated": ~ventilated,
        "ventilated_under_two_days": short,
        "under_18": ventilated & minor,
        "excluded_diagnosis": ventilated & excluded,
        "icu_stay_of_no_length": ventilated & wrong,
        "ventilated_after_death": after_death,
        "died_on_ventilator_before_day_7": died,
    }
    return outcome, {name: int(flags.sum()) for name, flags in counted.items()}


def _icu_stays(inputs: Inputs) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The ICU stays of the cohort with their admission's row, and who has one without length.

    A stay whose patient is not the admission's is skipped.
    """
    stays = inputs.tables["icu_stays"]
    rows, same_patient = match_admissions(stays, inputs.cohort)
    stays = stays.append_column("admission", pa.array(rows)).filter(pa.array(same_patient))
    empty = pc.fill_null(pc.less_equal(stays["outtime"], stays["intime"]), False).to_numpy()
    wrong = np.zeros(inputs.cohort.num_rows, bool)
    wrong[stays["admission"].to_numpy()[empty]] = True
    return stays.filter(pa.array(~empty)), wrong


def _ventilated(inputs: Inputs, stays: pa.Table) -> Ventilated:
    events, admission = _events_of_first_stays(inputs.tables["ventilation"], stays)
    starts, ends = times(events["starttime"]), times(events["endtime"])
    order = np.lexsort((starts, admission))
    admission, starts, ends = admission[order], starts[order], ends[order]
    rows = inputs.cohort.num_rows
    no_time = np.datetime64("NaT", "us")
    start, end = np.full(rows, no_time), np.full(rows, no_time)
    longest = np.zeros(rows, "timedelta64[us]")
    if len(starts):
        first = np.flatnonzero(np.r_[True, admission[1:] != admission[:-1]])
        start[admission[first]] = starts[first]
        end[admission[first]] = np.maximum.reduceat(ends, first)
        np.maximum.at(longest, *_episodes(admission, starts, ends))
    return Ventilated(start, end, longest)


def _episodes(
    admission: NDArray[np.int64], starts: Times, ends: Times
) -> tuple[NDArray[np.int64], NDArray[np.timedelta64]]:
    """The admission and the length of each episode, of intervals ordered by admission and start."""
    reach = latest_end_so_far(admission, ends)
    same = admission[1:] == admission[:-1]
    begins = np.flatnonzero(np.r_[True, ~(same & (starts[1:] - reach[:-1] < _SAME_EPISODE))])
    return admission[begins], np.maximum.reduceat(ends, begins) - starts[begins]


def _events_of_first_stays(events: pa.Table, stays: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """Ventilation with a start before its end in the first ICU stays, and its admissions."""
    stays = stays.take(pa.array(_first_of_each(stays)))
    admission = np.append(stays["admission"].to_numpy(), -1)  # the last: of no first stay
    events = events.filter(pc.less(events["starttime"], events["endtime"]))
    owner = admission[row_of(events["stay_id"].to_numpy(), stays["stay_id"].to_numpy())]
    return events.filter(pa.array(owner >= 0)), owner[owner >= 0]


def _first_of_each(stays: pa.Table) -> NDArray[np.int64]:
    """The rows of each admission's first ICU stay, and of the stays that overlap it."""
    admission, begins = stays["admission"].to_numpy(), times(stays["intime"])
    ends = times(stays["outtime"])
    ends = np.where(np.isnat(ends), begins, ends)  # without an end nothing is known of its length
    order = np.lexsort((ends, begins, admission))
    admission, begins = admission[order], begins[order]
    reach = latest_end_so_far(admission, ends[order])
    of_new = np.r_[True, admission[1:] != admission[:-1]][: len(order)]
    apart = np.r_[True, ~(begins[1:] < reach[:-1])][: len(order)] | of_new
    number = np.cumsum(apart)  # of merged stays, over all admissions
    first = np.maximum.accumulate(np.where(of_new, number, 0))
    return order[number == first]


def _has_excluded_diagnosis(inputs: Inputs) -> NDArray[np.bool_]:
    rows = of_cohort(inputs.tables["diagnoses"], inputs.cohort)
    excluded = np.zeros(inputs.cohort.num_rows, bool)
    for version, pattern in _EXCLUDED.items():
        hit = pc.match_substring_regex(rows.code, pattern).to_numpy()
        excluded[rows.admission[hit & (rows.version == version)]] = True
    return excluded
