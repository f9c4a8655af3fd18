"""Death in the hospital."""

from __future__ import annotations

import re

import numpy as np

from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Outcome

DIED = ("mortality", "died")
_GIVEN_AWAY = re.compile(
    r"\b(?:patient|pt)\s(?:had\s|has\s)?(?:expired|died|passed away|deceased)\b"
    r"|\bpronounced (?:dead|expired)\b|\btime of death\b",
    re.IGNORECASE,
)
_EXPIRED = re.compile(r"\bs?he expired\b", re.IGNORECASE)
_OF_OTHERS = re.compile(r"^(?:FAMILY|SOCIAL) HISTORY: .*$", re.MULTILINE)


def mortality(inputs: Inputs) -> Counted:
    """hospital_expire_flag of the admission (van Aken et al. 2021).

    An admission without the flag, or with other records that contradict it (`stays.py`), is
    unobserved. So is one whose note itself says that the patient died, in CORE's phrases, as it
    gives the answer away. (In the exam and the medications those are cut out when the note is
    made, see `sections.py`.)
    """
    discloses_death = np.array([tells_of_death(note) for note in inputs.notes()], bool)
    stays = inputs.stays
    known = stays.died | stays.lived
    outcome = Outcome.yes_or_no(DIED, "Died in the hospital", known & ~discloses_death, stays.died)
    return outcome, stays.counts() | {"death_told_in_note": int(discloses_death.sum())}


def tells_of_death(note: str) -> bool:
    """Whether an admission note gives the death away, by CORE's phrases.

    What its family and social history say about others who expired does not count.
    """
    return bool(_GIVEN_AWAY.search(note) or _EXPIRED.search(_OF_OTHERS.sub("", note)))
