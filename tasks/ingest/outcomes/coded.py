"""Every diagnosis, or every procedure, that the admission was coded with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import ConfigError
from tasks.ingest.outcomes.codes import SYSTEMS, CodedRows, of_cohort, versions_of
from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.outcomes.groups import Grouped, grouped
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.labels import Coded, Outcome, frequent
from tasks.ingest.outcomes.mapping import read_map
from tasks.ingest.stays import Flags


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
    outcome, more = _outcome(inputs, config, rows, versions, mixed)
    return outcome, more | counts


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
    outcome, counts = _outcome(inputs, config, rows, versions, mixed)
    return outcome, counts | {"admissions_without_codes": int(without.sum())}


def _outcome(
    inputs: Inputs,
    config: DiagnosesConfig | ProceduresConfig,
    rows: CodedRows,
    versions: NDArray[np.int64],
    mixed: int,
) -> Counted:
    """The outcome of the rows that are coded in their admission's version.

    Args:
        versions: [admissions], in which it is coded: 9, 10, or 0 where it is unobserved.
        mixed: admissions with codes of both versions; the more frequent version counts.
    """
    wanted = config.icd_versions
    observed = np.where(versions == int(wanted), versions, 0) if wanted in ("9", "10") else versions
    [titles] = config.titles
    full = rows.of_version(observed)
    groups = grouped(full, inputs.tables.get(titles), config)
    names = SYSTEMS[config.kind]
    in_training = pc.equal(inputs.cohort["split"], "train").to_numpy()
    systems = pc.if_else(pc.equal(pa.array(groups.rows.version), 9), names[9], names[10])
    admission, label, labels = frequent(
        groups.rows.admission, systems, groups.rows.code, in_training, config.min_count
    )
    if not labels and not config.optional:
        raise ConfigError(
            f"outcome '{config.name}': no code is held by {config.min_count} of the "
            f"{int(in_training.sum())} training admissions; lower its min_count"
        )
    version_of = {name: version for version, name in names.items()}
    outcome = Outcome(
        systems=[names.get(version) for version in observed.tolist()],
        admission=admission,
        label=label,
        labels=labels,
        titles=[groups.titles.get((version_of[system], code)) for system, code in labels],
        codes=_codes(full, groups, systems, labels, in_training),
    )
    return outcome, _counts(rows, observed, mixed) | groups.counts


def _codes(
    full: CodedRows,
    groups: Grouped,
    systems: pa.Array,
    labels: list[tuple[str, str]],
    in_training: Flags,
) -> list[Coded]:
    """The codes below the labels, each once an admission; none where labels are no categories.

    Args:
        full: the rows with their codes.
        groups: the same rows with the labels' codes, and the titles of both.
        systems: [rows], the label space of each row.
    """
    if len(full.code) != len(groups.rows.code) or not len(full.code):
        return []
    index = {label: number for number, label in enumerate(labels)}
    of_labels = zip(systems.to_pylist(), groups.rows.code.to_pylist(), strict=True)
    of_codes = zip(full.version.tolist(), full.code.to_pylist(), strict=True)
    found = {
        Coded(admission, index[label], code[1], title)
        for admission, label, code in zip(full.admission.tolist(), of_labels, of_codes, strict=True)
        if in_training[admission]
        and label in index
        and code[1] != label[1]
        and (title := groups.titles.get(code))
    }
    return sorted(found)


def _counts(rows: CodedRows, observed: NDArray[np.int64], mixed: int) -> dict[str, int]:
    admissions = Counter(observed.tolist())
    return {
        "observed_icd9": admissions[9],
        "observed_icd10": admissions[10],
        "admissions_of_mixed_version": mixed,
        "code_rows": len(rows.code),
        "code_rows_of_another_version": int((observed[rows.admission] != rows.version).sum()),
        "code_rows_outside_the_cohort": rows.elsewhere,
        "code_rows_of_another_patient": rows.mistaken,
    }
