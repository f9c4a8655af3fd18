"""How each admission ended, as far as its source can be believed, and which cannot have been.

A patient's death is recorded as patients.dod (a day), as an admission's deathtime, or as the end of
a stay with hospital_expire_flag; the earliest of them counts. Tables contradict themselves: organ
donors have accounts that begin after their death (MIMIC-III keeps them), times are mistyped, flags
are empty. What contradicts itself is unknown, never "no".
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.rows import row_of
from tasks.ingest.times import DAY, Times, begins_inside_another, latest_end_so_far, times

Flags = NDArray[np.bool_]

NO_STAY = "stay of no positive length"  # donors' accounts, and times that are mistyped
AFTER_DEATH = "begins after the patient's death"
NEVER = np.datetime64("9999-12-31", "us")  # later than any time
_LONG_AGO = np.datetime64("0001-01-01", "us")
_LATE_ENTRY = DAY  # so long after the discharge may stand the death of who died in the hospital


@dataclass(frozen=True)
class Stays:
    """The admissions of a source, in its order; every array is [admissions].

    death: when this stay ended in death: its deathtime, else the end of a stay that is flagged so.
    dead_from: from when on the patient is dead by any record; a dod counts from the next day on.
    death_day: the day of that record. All three are NEVER where there is none.
    died, lived: whether the stay ended in death, or with the patient alive; where its records
        contradict each other, or there are none, it is neither.
    """

    hadm_ids: NDArray[np.int64]
    subjects: NDArray[np.int64]
    admitted: Times
    discharged: Times
    death: Times
    dead_from: Times
    death_day: Times
    died: Flags
    lived: Flags

    @classmethod
    def of(cls, admissions: pa.Table, deaths: pa.Table) -> Stays:
        """All admissions of a source, and its patients' dod, as the layouts have them."""
        subjects = admissions["subject_id"].to_numpy()
        discharged, deathtime = (times(admissions[name]) for name in ("dischtime", "deathtime"))
        flag = pc.fill_null(admissions["hospital_expire_flag"], -1).to_numpy()
        timed = ~np.isnat(deathtime)
        death = np.where(timed, deathtime, np.where(flag == 1, discharged, NEVER))
        dod = _earliest(deaths["subject_id"].to_numpy(), _or_never(deaths["dod"]), subjects)
        by_stays = _earliest(subjects, death, subjects)
        dead_from = np.minimum(by_stays, _day_over(dod))
        # a stay with neither date of death is believed, and so is a death within a day of its end
        later = np.where(timed, deathtime, np.where(dod < NEVER, dod, discharged))
        return cls(
            hadm_ids=admissions["hadm_id"].to_numpy(),
            subjects=subjects,
            admitted=times(admissions["admittime"]),
            discharged=discharged,
            death=death,
            dead_from=dead_from,
            death_day=np.minimum(by_stays, dod).astype("datetime64[D]"),
            died=(flag == 1) & (later <= discharged + _LATE_ENTRY),
            lived=(flag == 0) & ~(dead_from <= discharged),
        )

    def of_admissions(self, hadm_ids: NDArray[np.int64]) -> Stays:
        """The stays of those admissions; of one that is not there nothing is known."""
        rows = row_of(hadm_ids, self.hadm_ids)
        there = rows >= 0
        chosen = self._take(rows)
        return replace(
            chosen,
            death=np.where(there, chosen.death, NEVER),
            died=chosen.died & there,
            lived=chosen.lived & there,
        )

    @property
    def empty(self) -> Flags:
        """Which end as they begin, or before."""
        return self.discharged <= self.admitted

    @property
    def after_death(self) -> Flags:
        """Which begin when the patient is dead by any record, their own included."""
        return self.admitted >= self.dead_from

    @property
    def inside_another(self) -> Flags:
        """Which begin while an earlier one of the patient goes on."""
        return begins_inside_another(self.subjects, self.admitted, self.discharged)

    def going_on(self, subjects: NDArray[np.int64], at: Times) -> Flags:
        """Whether each subject lies in a stay at that time, begun before and ended after it."""
        everyone = np.concatenate((self.subjects, subjects))
        when = np.concatenate((self.admitted, at))
        ends = np.concatenate((self.discharged, np.full(len(at), _LONG_AGO)))
        is_stay = np.repeat([True, False], [len(self.subjects), len(subjects)])
        order = np.lexsort((is_stay, when, everyone))  # a question before a stay at its time
        reach = np.empty(len(order), "datetime64[us]")
        reach[order] = latest_end_so_far(everyone[order], ends[order])
        return reach[len(self.subjects) :] > at

    def counts(self) -> dict[str, int]:
        """How many did not end with the patient alive, or of which that is not known."""
        unknown = ~self.died & ~self.lived
        return {"ended_in_death": int(self.died.sum()), "end_unknown": int(unknown.sum())}

    def possible(self) -> Stays:
        """Those that can have been: of positive length, and of a patient who was alive."""
        return self._take(np.flatnonzero(~self.empty & ~self.after_death))

    def _take(self, rows: NDArray[np.int64]) -> Self:
        return type(self)(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def _or_never(column: pa.ChunkedArray) -> Times:
    when = times(column)
    return np.where(np.isnat(when), NEVER, when)


def _earliest(keys: NDArray[np.int64], when: Times, wanted: NDArray[np.int64]) -> Times:
    """The earliest time of each wanted key, NEVER of one that does not occur [wanted]."""
    known, groups = np.unique(keys, return_inverse=True)
    first = np.full(len(known) + 1, NEVER)  # the last is of who is unknown
    np.minimum.at(first, groups, when)
    return first[row_of(wanted, known)]


def _day_over(when: Times) -> Times:
    """From when on a death is certain: a date alone says so from the next day on."""
    day = when.astype("datetime64[D]").astype(when.dtype)
    return np.where((when == day) & (when < NEVER), when + DAY, when)
