"""How each admission ended, as far as its source can be trusted, and which ones are impossible.

A patient's death is recorded as patients.dod (a day), as an admission's deathtime, or as the end of
a stay with hospital_expire_flag; the earliest of them counts. Tables contradict themselves: organ
donors have accounts that begin after their death (MIMIC-III keeps them), times are mistyped, flags
are empty. Where records contradict each other, the end is unknown, never "no".
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.lookup import row_of
from tasks.ingest.times import (
    DAY,
    NEVER,
    Times,
    begins_inside_another,
    day_over,
    latest_end_so_far,
    times,
)

Flags = NDArray[np.bool_]

NO_STAY = "stay of no positive length"  # donors' accounts, and mistyped times
AFTER_DEATH = "begins after the patient's death"
_LONG_AGO = np.datetime64("0001-01-01", "us")
_LATE_ENTRY = DAY  # a death in the hospital may be dated at most this long after the discharge


@dataclass(frozen=True)
class Stays:
    """The admissions of a source, in its order; every array is [admissions].

    death: when this stay ended in death: its deathtime, else the end of a stay with the flag.
    dead_from: when the patient is dead by any record; a dod counts from the next day on.
    death_day: the day of that record. All three are NEVER where there is none.
    died, lived: whether the stay ended in death, or with the patient alive; neither where its
        records contradict each other, or there are none.
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
        """From a source's tables `admissions` and `deaths`, in the columns of the layouts."""
        subjects = admissions["subject_id"].to_numpy()
        discharged, deathtime = (times(admissions[name]) for name in ("dischtime", "deathtime"))
        flag = pc.fill_null(admissions["hospital_expire_flag"], -1).to_numpy()
        timed = ~np.isnat(deathtime)
        death = np.where(timed, deathtime, np.where(flag == 1, discharged, NEVER))
        dod = _earliest(deaths["subject_id"].to_numpy(), _or_never(deaths["dod"]), subjects)
        by_stays = _earliest(subjects, death, subjects)
        dead_from = np.minimum(by_stays, day_over(dod))
        # a flag is believed without any date of death, and if the death is within a day of the end
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
        """The stays of those admissions; one that is missing here has no known end."""
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
        """Which end when they begin, or before."""
        return self.discharged <= self.admitted

    @property
    def after_death(self) -> Flags:
        """Which begin when the patient is already dead by any record, this stay's included."""
        return self.admitted >= self.dead_from

    @property
    def inside_another(self) -> Flags:
        """Which begin during an earlier stay of the same patient."""
        return begins_inside_another(self.subjects, self.admitted, self.discharged)

    def going_on(self, subjects: NDArray[np.int64], at: Times) -> Flags:
        """Whether each subject is in a stay at that time, begun before and ended after it."""
        everyone = np.concatenate((self.subjects, subjects))
        when = np.concatenate((self.admitted, at))
        ends = np.concatenate((self.discharged, np.full(len(at), _LONG_AGO)))
        is_stay = np.repeat([True, False], [len(self.subjects), len(subjects)])
        order = np.lexsort((is_stay, when, everyone))  # at the same time the question goes first
        reach = np.empty(len(order), "datetime64[us]")
        reach[order] = latest_end_so_far(everyone[order], ends[order])
        return reach[len(self.subjects) :] > at

    def counts(self) -> dict[str, int]:
        """How many ended in death, and how many in a way that is not known."""
        unknown = ~self.died & ~self.lived
        return {"ended_in_death": int(self.died.sum()), "end_unknown": int(unknown.sum())}

    def possible(self) -> Stays:
        """The plausible ones: of positive length, and of a patient who was alive."""
        return self._take(np.flatnonzero(~self.empty & ~self.after_death))

    def _take(self, rows: NDArray[np.int64]) -> Self:
        return type(self)(
            **{column.name: getattr(self, column.name)[rows] for column in fields(self)}
        )


def _or_never(column: pa.ChunkedArray) -> Times:
    when = times(column)
    return np.where(np.isnat(when), NEVER, when)


def _earliest(keys: NDArray[np.int64], when: Times, wanted: NDArray[np.int64]) -> Times:
    """The earliest time of each wanted key, NEVER where it does not occur [wanted]."""
    known, groups = np.unique(keys, return_inverse=True)
    first = np.full(len(known) + 1, NEVER)  # the last element stands for unknown keys
    np.minimum.at(first, groups, when)
    return first[row_of(wanted, known)]
