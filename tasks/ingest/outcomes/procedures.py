"""Every procedure that the admission was coded with."""

from __future__ import annotations

import numpy as np

from tasks.ingest.outcomes.coded import Coded, chosen
from tasks.ingest.outcomes.codes import of_cohort, versions_of
from tasks.ingest.outcomes.config import ProceduresConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs


def procedures(inputs: Inputs, config: ProceduresConfig) -> Counted:
    """The ICD-9-CM volume 3 or ICD-10-PCS codes of procedures_icd, by default their categories.

    Three characters in ICD-9 (CORE, whose labels lost their leading zeros: 0331 is 033 here), four
    in ICD-10 (CORE's port to MIMIC-IV). The version of an admission comes from its diagnoses. An
    admission without procedure rows is negative for every label, or unobserved with
    `no_codes: exclude`, as in CORE's lists.
    """
    rows = of_cohort(inputs.tables["procedures"], inputs.cohort)
    count = inputs.cohort.num_rows
    versions, mixed = versions_of(of_cohort(inputs.tables["diagnoses"], inputs.cohort), count)
    without = (versions > 0) & (np.bincount(rows.admission, minlength=count) == 0)
    if config.no_codes == "exclude":
        versions = np.where(without, 0, versions)
    coded = Coded("procedures", rows, chosen(versions, config.icd_versions), mixed)
    outcome, counts = coded.outcome(inputs.cohort, inputs.tables.get("procedure_titles"), config)
    return outcome, counts | {"admissions_without_codes": int(without.sum())}
