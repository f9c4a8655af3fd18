"""What becomes of a patient who left the hospital alive: death, or another admission."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.lookup import row_of
from tasks.ingest.outcomes.config import DeathAfterDischargeConfig, ReadmissionConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.stays import Flags, Stays
from tasks.ingest.times import DAY, Times

_ELECTIVE = r"(?i)^(elective|surgical same day admission)$"
_OBSERVATION = r"(?i)observation"


def death_after_discharge(inputs: Inputs, config: DeathAfterDischargeConfig) -> Counted:
    """A death recorded at most `days` days after dischtime, compared by date (dod has no time).

    The record is patients.dod, or a later stay that ended in death. MIMIC-IV censors dod a year
    after the last discharge, so that a missing one says that the patient lived through the days
    asked for. Unobserved: who did not leave alive (see `_left_alive`), and who is not in the
    patients table, or has a dod there that cannot be read.
    """
    stays = inputs.stays
    left, counts = _left_alive(inputs)
    known = row_of(stays.subjects, inputs.tables["deaths"]["subject_id"].to_numpy()) >= 0
    days = stays.death_day - stays.discharged.astype("datetime64[D]")
    outcome = Outcome.yes_or_no(
        ("death_after_discharge", f"{config.days}d"),
        f"Died within {config.days} days after discharge",
        left & known,
        days <= np.timedelta64(config.days, "D"),
    )
    return outcome, counts | {"patient_unknown": int((~known).sum())}


def readmission(inputs: Inputs, config: ReadmissionConfig) -> Counted:
    """An admission of the same patient that begins at most `days` days after dischtime.

    All of the source's admissions count as returns, also those outside the cohort, except the
    kinds that the config excludes (a later return may still count), and accounts that begin after
    the patient's death. Unobserved: who did not leave alive (see `_left_alive`), and whose only
    return is a stay of no positive length, whose times are wrong. A patient who dies at home in
    those days is negative; admissions to other hospitals are not known.
    """
    everyone, stays = inputs.all_stays, inputs.stays
    counting = _counts_as_return(inputs.tables["admissions"], config)
    tomorrow = stays.discharged.astype("datetime64[D]") + np.timedelta64(1, "D")
    after = (
        tomorrow.astype(stays.discharged.dtype)
        if "same_day" in config.exclude
        else stays.discharged
    )

    def returned(returns: Flags) -> Flags:
        begins = _next(everyone, returns & ~everyone.after_death, stays.subjects, after)
        return begins - stays.discharged <= config.days * DAY  # false where there is none

    positive = returned(counting & ~everyone.empty)
    doubtful = returned(counting & everyone.empty) & ~positive
    left, counts = _left_alive(inputs)
    outcome = Outcome.yes_or_no(
        ("readmission", f"{config.days}d"),
        f"Readmitted within {config.days} days after discharge",
        left & ~doubtful,
        positive,
    )
    return outcome, counts | {
        "admissions_that_are_no_return": int((~counting | everyone.after_death).sum()),
        "return_of_no_length": int((left & doubtful).sum()),
    }


def _left_alive(inputs: Inputs) -> tuple[Flags, dict[str, int]]:
    """Who left the hospital alive [admissions], and how many did not, or are not known to have.

    A patient who is still in another stay when this one ends has not left.
    """
    stays = inputs.stays
    staying = inputs.all_stays.possible().going_on(stays.subjects, stays.discharged)
    counts = stays.counts() | {"stayed_in_another": int((stays.lived & staying).sum())}
    return stays.lived & ~staying, counts


def _counts_as_return(stays: pa.Table, config: ReadmissionConfig) -> Flags:
    kinds = pc.fill_null(stays["admission_type"], "")
    left_out = pa.chunked_array([pa.repeat(False, stays.num_rows)])
    if "elective" in config.exclude:
        left_out = pc.or_(left_out, pc.match_substring_regex(kinds, _ELECTIVE))
    if "observation" in config.exclude:
        left_out = pc.or_(left_out, pc.match_substring_regex(kinds, _OBSERVATION))
    return pc.invert(left_out).to_numpy()


def _next(stays: Stays, chosen: Flags, subjects: NDArray[np.int64], after: Times) -> Times:
    """When each subject's first chosen stay from that time on began, NaT where there is none.

    Stays and questions (a subject and a time) are sorted together by patient and time; the answer
    to a question is the next stay after it, if that is the same patient's. Returns [subjects].
    """
    patients, admitted = stays.subjects[chosen], stays.admitted[chosen]
    everyone = np.concatenate((patients, subjects))
    when = np.concatenate((admitted, after))
    is_question = np.repeat([False, True], [len(patients), len(subjects)])
    order = np.lexsort((~is_question, when, everyone))  # at the same time the question goes first
    number = np.where(is_question[order], len(order), np.arange(len(order)))
    following = np.minimum.accumulate(number[::-1])[::-1]  # [order], the next stay
    asking = np.flatnonzero(is_question[order])
    asking = asking[following[asking] < len(order)]
    stay, question = order[following[asking]], order[asking] - len(patients)
    same_patient = everyone[stay] == subjects[question]
    begins = np.full(len(subjects), np.datetime64("NaT", "us"))
    begins[question[same_patient]] = when[stay[same_patient]]
    return begins
