"""What becomes of a patient who left the hospital alive: death, or another admission."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.outcomes.config import DeathAfterDischargeConfig, ReadmissionConfig
from tasks.ingest.outcomes.inputs import DAY, Counted, Inputs, Times, times
from tasks.ingest.outcomes.labels import Outcome

_ELECTIVE = r"(?i)^(elective|surgical same day admission)$"
_OBSERVATION = r"(?i)observation"


def death_after_discharge(inputs: Inputs, config: DeathAfterDischargeConfig) -> Counted:
    """patients.dod at most so many days after dischtime, compared by date (dod has no time).

    Admissions that ended in death are unobserved, and so are those of which the patient is said
    to have died before discharge. MIMIC-IV's dod is censored a year after the last discharge, so
    that a missing one says that the patient lived through the days asked for.
    """
    discharged = times(inputs.cohort["dischtime"]).astype("datetime64[D]")
    of_death = times(inputs.of_patients("deaths")["dod"]).astype("datetime64[D]")
    died = inputs.died()
    before = ~died & (of_death < discharged)  # a comparison with NaT is false
    within = of_death - discharged <= np.timedelta64(config.days, "D")
    outcome = Outcome.yes_or_no(
        ("death_after_discharge", f"{config.days}d"),
        f"Died within {config.days} days after discharge",
        ~died & ~before,
        within,
    )
    counts = {"ended_in_death": died, "death_before_discharge": before}
    return outcome, {name: int(flags.sum()) for name, flags in counts.items()}


def readmission(inputs: Inputs, config: ReadmissionConfig) -> Counted:
    """An admission of the same patient that begins at most so many days after dischtime.

    All of the source's admissions count as returns, those too that are not in the cohort, but for
    the kinds that the config excludes (a later return may still count). Admissions that ended in
    death are unobserved. Who dies at home in those days stays negative; other hospitals are not
    known of.
    """
    stays = inputs.tables["admissions"]
    counting = stays.filter(_counts_as_return(stays, config))
    subjects, discharged = inputs.cohort["subject_id"], times(inputs.cohort["dischtime"])
    tomorrow = discharged.astype("datetime64[D]") + np.timedelta64(1, "D")
    after = tomorrow.astype(discharged.dtype) if "same_day" in config.exclude else discharged
    next_one = _next(counting, subjects.to_numpy(), after)
    died = inputs.died()
    outcome = Outcome.yes_or_no(
        ("readmission", f"{config.days}d"),
        f"Readmitted within {config.days} days after discharge",
        ~died,
        next_one - discharged <= config.days * DAY,  # false where there is none
    )
    return outcome, {
        "ended_in_death": int(died.sum()),
        "admissions_that_are_no_return": stays.num_rows - counting.num_rows,
    }


def _counts_as_return(stays: pa.Table, config: ReadmissionConfig) -> pa.ChunkedArray:
    kinds = pc.fill_null(stays["admission_type"], "")
    left_out = pa.chunked_array([pa.repeat(False, stays.num_rows)])
    if "elective" in config.exclude:
        left_out = pc.or_(left_out, pc.match_substring_regex(kinds, _ELECTIVE))
    if "observation" in config.exclude:
        left_out = pc.or_(left_out, pc.match_substring_regex(kinds, _OBSERVATION))
    return pc.invert(left_out)


def _next(stays: pa.Table, subjects: NDArray[np.int64], after: Times) -> Times:
    """When each subject's first stay from that time on began, NaT where there is none [subjects].

    Stays are in order of patient and time; the first that is not before (subject, after) is found
    by ranking both together.
    """
    patients, admitted = stays["subject_id"].to_numpy(), times(stays["admittime"])
    everyone = np.concatenate((patients, subjects))
    when = np.concatenate((admitted, after))
    is_query = np.repeat([False, True], [len(patients), len(subjects)])
    order = np.lexsort((~is_query, when, everyone))  # a question stands before a stay at its time
    for_stay = np.where(is_query[order], len(order), np.arange(len(order)))
    following = np.minimum.accumulate(for_stay[::-1])[::-1]  # the next stay from each place on
    found = np.full(len(subjects), np.datetime64("NaT", "us"))
    places = np.flatnonzero(is_query[order])
    at = following[places]
    inside = at < len(order)
    stay = order[at[inside]]
    question = order[places[inside]] - len(patients)
    own = everyone[stay] == subjects[question]
    found[question[own]] = when[stay[own]]
    return found
