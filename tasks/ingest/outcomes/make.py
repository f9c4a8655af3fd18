"""How each outcome is made."""

from __future__ import annotations

import numpy as np

from tasks.ingest.outcomes import config as configs
from tasks.ingest.outcomes.after_discharge import death_after_discharge, readmission
from tasks.ingest.outcomes.coded import diagnoses, procedures
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels_beside import labels_beside
from tasks.ingest.outcomes.length_of_stay import length_of_stay
from tasks.ingest.outcomes.mortality import mortality
from tasks.ingest.outcomes.user_labels import user_labels
from tasks.ingest.outcomes.ventilation import ventilation
from tasks.ingest.times import HOUR, times


def make(inputs: Inputs, config: configs.OutcomeConfig) -> Counted:
    """The outcome of the cohort's admissions, and what was counted on the way.

    Where it is predicted hours after admission, admissions that ended before are unobserved.
    """
    outcome, counts = _outcome(inputs, config)
    hours = config.predicted_after_hours
    if 0 < hours < np.inf:
        ends = times(inputs.cohort["dischtime"])
        if {"admissions", "deaths"} <= set(inputs.tables):
            ends = np.minimum(ends, inputs.stays.death)
        lasting = ends - times(inputs.cohort["admittime"]) > hours * HOUR
        outcome = outcome.within(lasting)
        counts = counts | {"ended_before_prediction": int((~lasting).sum())}
    return outcome, counts


def _outcome(inputs: Inputs, config: configs.OutcomeConfig) -> Counted:
    match config:
        case configs.DiagnosesConfig():
            return diagnoses(inputs, config)
        case configs.ProceduresConfig():
            return procedures(inputs, config)
        case configs.MortalityConfig():
            return mortality(inputs)
        case configs.LengthOfStayConfig():
            return length_of_stay(inputs)
        case configs.VentilationConfig():
            return ventilation(inputs, config)
        case configs.DeathAfterDischargeConfig():
            return death_after_discharge(inputs, config)
        case configs.ReadmissionConfig():
            return readmission(inputs, config)
        case configs.OwnOutcomeConfig():
            return user_labels(inputs, config)
        case configs.LabelsConfig():
            return labels_beside(inputs, config)
