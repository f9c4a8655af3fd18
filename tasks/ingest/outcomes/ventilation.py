"""Prolonged mechanical ventilation (PMV)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.outcomes.codes import of_cohort
from tasks.ingest.outcomes.config import VentilationConfig
from tasks.ingest.outcomes.inputs import DAY, HOUR, Counted, Inputs, Times, times
from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.rows import row_of

LABEL = ("ventilation", "prolonged")
_LONG, _SHORT = 7 * DAY, 2 * DAY
_SLACK = DAY // 4  # of the published rule, added to the last end
_SAME_EPISODE = 14 * HOUR  # mimic-code's gap in MIMIC-IV's ventilation concept
_AT_THE_END = HOUR  # a death so soon after the last end was on the ventilator
_ADULT = 18  # years

# Who is not meant, as Clinical XLNet's cohort leaves them out: cancer of head, face and neck;
# myasthenia gravis and similar; burns of head, face and neck or of 30% of the body and more;
# organ donors. ICD-10 by the general equivalence map (35801 G7001, 3589 G709, 3590 G712, 3591
# G710; burns 941 T20, 948.3-9 T31.3-9), corrosions of the same extent with them.
_EXCLUDED = {
    9: r"^(14\d|3589|3590|3591|35801|941|948[3-9]|V59)",
    10: r"^(C0\d|C1[0-4]|G7001|G709|G710|G712|T20|T3[12][3-9]|Z52)",
}


@dataclass(frozen=True)
class Ventilated:
    """The invasive ventilation of each admission's first ICU stay; all arrays [admissions].

    Times are NaT where there was none. `longest` is that of an episode: intervals merged over gaps
    of less than 14 hours.
    """

    start: Times
    end: Times
    longest: NDArray[np.timedelta64]


def ventilation(inputs: Inputs, config: VentilationConfig) -> Counted:
    """Whether invasive ventilation in the first ICU stay lasts seven days or more.

    span: last end + 0.25 days >= first start + 7 days, gaps ignored (Huang et al. 2020, Clinical
    XLNet, whose cohort the paper takes by way of BEEP). episode: the longest episode lasts seven
    days. Negative are those ventilated for two days at least; all others are unobserved: under two
    days, under 18 years, or with a diagnosis that calls for other ventilation. A death on the
    ventilator before day 7 is negative or unobserved, as configured, and counted.
    """
    found = _ventilated(inputs)
    there = ~np.isnat(found.start)
    lasted = found.end - found.start + _SLACK if config.rule == "span" else found.longest
    positive = there & (lasted >= _LONG)
    short = there & ~(lasted >= _SHORT)
    minor = pc.fill_null(pc.less(inputs.cohort["age"], _ADULT), True).to_numpy()
    other = _has_excluded_diagnosis(inputs)
    died = there & ~positive & _died_on_it(inputs, found)
    observed = there & ~short & ~minor & ~other
    if config.death_on_ventilator == "exclude":
        observed &= ~died
    outcome = Outcome.yes_or_no(LABEL, "Ventilated for seven days or more", observed, positive)
    counted = {
        "never_ventilated": ~there,
        "ventilated_under_two_days": short,
        "under_18": there & minor,
        "excluded_diagnosis": there & other,
        "died_on_ventilator_before_day_7": there & ~short & ~minor & ~other & died,
    }
    return outcome, {name: int(flags.sum()) for name, flags in counted.items()}


def _ventilated(inputs: Inputs) -> Ventilated:
    events, admission = _events_of_first_stays(inputs)
    starts, ends = times(events["starttime"]), times(events["endtime"])
    order = np.lexsort((starts, admission))
    admission, starts, ends = admission[order], starts[order], ends[order]
    rows = inputs.cohort.num_rows
    none = np.datetime64("NaT", "us")
    start, end = np.full(rows, none), np.full(rows, none)
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
    reach = _latest_end_so_far(admission, ends)
    same = admission[1:] == admission[:-1]
    begins = np.flatnonzero(np.r_[True, ~(same & (starts[1:] - reach[:-1] < _SAME_EPISODE))])
    return admission[begins], np.maximum.reduceat(ends, begins) - starts[begins]


def _latest_end_so_far(admission: NDArray[np.int64], ends: Times) -> Times:
    """Within each admission, the latest end of this and the intervals before [intervals]."""
    # ranks of times, those of one admission put above all of the one before it
    distinct, ranks = np.unique(ends, return_inverse=True)
    number = np.cumsum(np.r_[0, admission[1:] != admission[:-1]])
    highest = np.maximum.accumulate(number * len(distinct) + ranks)
    return distinct[highest % len(distinct)]


def _events_of_first_stays(inputs: Inputs) -> tuple[pa.Table, NDArray[np.int64]]:
    """Ventilation with a start before its end in the first ICU stays, and whose each is."""
    stays = inputs.tables["icu_stays"].sort_by([("hadm_id", "ascending"), ("intime", "ascending")])
    hadm_ids = stays["hadm_id"].to_numpy()
    first = np.r_[True, hadm_ids[1:] != hadm_ids[:-1]][: len(hadm_ids)]
    stays = stays.filter(pa.array(first))
    admission = row_of(stays["hadm_id"].to_numpy(), inputs.cohort["hadm_id"].to_numpy())
    events = inputs.tables["ventilation"]
    events = events.filter(pc.less(events["starttime"], events["endtime"]))
    stay = row_of(events["stay_id"].to_numpy(), stays["stay_id"].to_numpy())
    owner = np.where(stay >= 0, admission[stay] if len(admission) else -1, -1)
    return events.filter(pa.array(owner >= 0)), owner[owner >= 0]


def _has_excluded_diagnosis(inputs: Inputs) -> NDArray[np.bool_]:
    rows = of_cohort(inputs.tables["diagnoses"], inputs.cohort)
    excluded = np.zeros(inputs.cohort.num_rows, bool)
    for version, pattern in _EXCLUDED.items():
        hit = pc.match_substring_regex(rows.code, pattern).to_numpy()
        excluded[rows.admission[hit & (rows.version == version)]] = True
    return excluded


def _died_on_it(inputs: Inputs, found: Ventilated) -> NDArray[np.bool_]:
    """Whether the patient died on the ventilator, less than seven days after its start."""
    death = times(inputs.of_admissions("deathtimes")["deathtime"])
    return (death <= found.end + _AT_THE_END) & (death - found.start < _LONG)
