"""Length of stay in four classes."""

from __future__ import annotations

import numpy as np

from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.times import DAY, times

SYSTEM = "length_of_stay"
CLASSES = (
    ("<=3", "At most 3 days"),
    ("(3,7]", "More than 3 and at most 7 days"),
    ("(7,14]", "More than 7 and at most 14 days"),
    (">14", "More than 14 days"),
)
_BOUNDS = np.array([3, 7, 14]) * DAY


def length_of_stay(inputs: Inputs) -> Counted:
    """Days from admittime to dischtime in four classes: <=3, (3, 7], (7, 14], >14.

    The classes are CORE's (van Aken et al. 2021), which first rounds to tenths of a day; here the
    times are exact. An admission that ended in death is unobserved, as in CORE: its length says
    how long it took to die. So is one whose end is not known. Stays of no positive length are not
    in the cohort.
    """
    stay = times(inputs.cohort["dischtime"]) - times(inputs.cohort["admittime"])
    known = ~np.isnat(stay)
    observed = known & inputs.stays.lived
    rows = np.flatnonzero(observed)
    outcome = Outcome(
        systems=[SYSTEM if known else None for known in observed.tolist()],
        admission=rows,
        label=np.searchsorted(_BOUNDS, stay[rows]),  # exactly 3 days belong to the first class
        labels=[(SYSTEM, code) for code, _ in CLASSES],
        titles=[title for _, title in CLASSES],
        one_of=True,
    )
    return outcome, inputs.stays.counts() | {"times_missing": int((~known).sum())}
