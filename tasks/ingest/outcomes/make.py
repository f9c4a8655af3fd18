"""Which tables an outcome needs, and how it is made from them."""

from __future__ import annotations

import numpy as np

from tasks.ingest.outcomes.after_discharge import death_after_discharge, readmission
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    DiagnosesConfig,
    LengthOfStayConfig,
    MortalityConfig,
    OutcomeConfig,
    OwnOutcomeConfig,
    ProceduresConfig,
    ReadmissionConfig,
    VentilationConfig,
)
from tasks.ingest.outcomes.diagnoses import diagnoses
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.length_of_stay import length_of_stay
from tasks.ingest.outcomes.mortality import mortality
from tasks.ingest.outcomes.procedures import procedures
from tasks.ingest.outcomes.user_labels import user_labels
from tasks.ingest.outcomes.ventilation import ventilation
from tasks.ingest.times import HOUR, times

_OF_STAYS = ("admissions", "deaths")  # they say how a stay ended
_FLAG = {"admissions": ("hospital_expire_flag",)}


def make(inputs: Inputs, config: OutcomeConfig) -> Counted:
    """The outcome of the cohort's admissions, and what was counted on the way.

    Where it is predicted hours after admission, admissions that ended before are unobserved.
    """
    outcome, counts = _outcome(inputs, config)
    hours = config.predicted_after_hours
    if 0 < hours < np.inf:
        ends = times(inputs.cohort["dischtime"])
        if set(_OF_STAYS) <= set(inputs.tables):
            ends = np.minimum(ends, inputs.stays.death)
        lasting = ends - times(inputs.cohort["admittime"]) > hours * HOUR
        outcome = outcome.within(lasting)
        counts = counts | {"ended_before_prediction": int((~lasting).sum())}
    return outcome, counts


def tables_of(config: OutcomeConfig) -> tuple[str, ...]:
    """The source tables without which the outcome cannot be made."""
    match config:
        case DiagnosesConfig():
            return ("diagnoses",)
        case ProceduresConfig():
            return ("procedures", "diagnoses")
        case VentilationConfig():
            return ("icu_stays", "ventilation", "diagnoses", *_OF_STAYS)
        case OwnOutcomeConfig():
            return ()
        case _:
            return _OF_STAYS


def columns_of(config: OutcomeConfig) -> dict[str, tuple[str, ...]]:
    """The columns, by table, that this outcome needs, although they may be missing for others."""
    match config:
        case VentilationConfig():
            return {"ventilation": ("starttime", "endtime"), **_FLAG}
        case DeathAfterDischargeConfig():
            return {"deaths": ("dod",), **_FLAG}
        case ReadmissionConfig() if {"elective", "observation"} & set(config.exclude):
            return {"admissions": ("hospital_expire_flag", "admission_type")}
        case MortalityConfig() | LengthOfStayConfig() | ReadmissionConfig():
            return dict(_FLAG)
        case _:
            return {}


def titles_of(config: OutcomeConfig) -> tuple[str, ...]:
    """The table of titles that the outcome uses if it exists."""
    match config:
        case DiagnosesConfig():
            return ("diagnosis_titles",)
        case ProceduresConfig():
            return ("procedure_titles",)
        case _:
            return ()


def _outcome(inputs: Inputs, config: OutcomeConfig) -> Counted:
    match config:
        case DiagnosesConfig():
            return diagnoses(inputs, config)
        case ProceduresConfig():
            return procedures(inputs, config)
        case MortalityConfig():
            return mortality(inputs)
        case LengthOfStayConfig():
            return length_of_stay(inputs)
        case VentilationConfig():
            return ventilation(inputs, config)
        case DeathAfterDischargeConfig():
            return death_after_discharge(inputs, config)
        case ReadmissionConfig():
            return readmission(inputs, config)
        case OwnOutcomeConfig():
            return user_labels(inputs, config)
