"""Every diagnosis that the admission was coded with."""

from __future__ import annotations

import numpy as np

from tasks.ingest.outcomes.coded import Coded, chosen
from tasks.ingest.outcomes.codes import of_cohort, versions_of
from tasks.ingest.outcomes.config import DiagnosesConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.mapping import read_map


def diagnoses(inputs: Inputs, config: DiagnosesConfig) -> Counted:
    """The ICD-9-CM or ICD-10-CM codes of diagnoses_icd, by default their categories.

    CORE's labels (van Aken et al. 2021): the first three characters, or four for ICD-9's V and E
    codes. An admission is observed in the version of its diagnosis rows; without any it is
    unobserved. The codes were billed at discharge, for the whole stay. With `mapped`, ICD-9 codes
    become ICD-10 codes by the general equivalence map (`mapping.py` states the rule).
    """
    rows = of_cohort(inputs.tables["diagnoses"], inputs.cohort)
    versions, mixed = versions_of(rows, inputs.cohort.num_rows)
    counts: dict[str, int] = {}
    if config.equivalence_map:
        rows, counts = read_map(config.equivalence_map).forward(rows)
        versions = np.where(versions > 0, 10, 0)
    coded = Coded("diagnoses", rows, chosen(versions, config.icd_versions), mixed)
    outcome, more = coded.outcome(inputs.cohort, inputs.tables.get("diagnosis_titles"), config)
    return outcome, more | counts
