"""The outcomes: diagnoses and procedures as many labels, and death in the hospital as one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import ConfigError
from tasks.ingest.codes import SYSTEMS, CodedRows, Kind, category, of_cohort, versions_of
from tasks.ingest.cohort import row_of
from tasks.ingest.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.labels import Outcome, frequent
from tasks.ingest.titles import titles_of

Counted = tuple[Outcome, dict[str, int]]

DIED = ("mortality", "died")
_GIVEN_AWAY = re.compile(
    r"\b(?:patient|pt)\s(?:had\s|has\s)?(?:expired|died|passed away|deceased)\b"
    r"|\bpronounced (?:dead|expired)\b|\btime of death\b",
    re.IGNORECASE,
)
_EXPIRED = re.compile(r"\bs?he expired\b", re.IGNORECASE)
_OF_OTHERS = re.compile(r"^(?:FAMILY|SOCIAL) HISTORY: .*$", re.MULTILINE)


def diagnoses(
    cohort: pa.Table, codes: pa.Table, titles: pa.Table | None, config: DiagnosesConfig
) -> Counted:
    """Every diagnosis that the admission was coded with (ICD-9-CM or ICD-10-CM).

    An admission is observed in the version of its diagnosis rows; without any it is unobserved.
    Codes come from billing at discharge, for the whole stay.
    """
    rows = of_cohort(codes, cohort)
    versions, mixed = versions_of(rows, cohort.num_rows)
    observed = _chosen(versions, config.icd_versions)
    outcome = _coded("diagnoses", cohort, rows.of_version(observed), observed, titles, config)
    return outcome, _tally(rows, observed, mixed)


def procedures(
    cohort: pa.Table,
    codes: pa.Table,
    diagnosis_codes: pa.Table,
    titles: pa.Table | None,
    config: ProceduresConfig,
) -> Counted:
    """Every procedure that the admission was coded with (ICD-9-PCS or ICD-10-PCS).

    The version of an admission comes from its diagnoses. Without procedure rows it is negative for
    every label, or unobserved with `no_codes: exclude`, as CORE's lists have it.
    """
    rows = of_cohort(codes, cohort)
    versions, mixed = versions_of(of_cohort(diagnosis_codes, cohort), cohort.num_rows)
    without = (versions > 0) & (np.bincount(rows.admission, minlength=cohort.num_rows) == 0)
    if config.no_codes == "exclude":
        versions = np.where(without, 0, versions)
    observed = _chosen(versions, config.icd_versions)
    outcome = _coded("procedures", cohort, rows.of_version(observed), observed, titles, config)
    return outcome, _tally(rows, observed, mixed) | {"admissions_without_codes": int(without.sum())}


def mortality(cohort: pa.Table, admissions: pa.Table, told: NDArray[np.bool_]) -> Counted:
    """Death in the hospital: hospital_expire_flag of the admission.

    An admission of which the note itself says that the patient died (`told`, see `tells_of_death`)
    is unobserved, so that nothing is learned from the answer.
    """
    rows = row_of(cohort["hadm_id"].to_numpy(), admissions["hadm_id"].to_numpy())
    flags = admissions["hospital_expire_flag"].take(pa.array(rows, pa.int64(), mask=rows < 0))
    known = flags.is_valid().to_numpy()
    died = pc.fill_null(pc.equal(flags, 1), False).to_numpy()
    observed = known & ~told
    outcome = Outcome(
        systems=[DIED[0] if seen else None for seen in observed.tolist()],
        admission=np.flatnonzero(observed & died),
        label=np.zeros(int((observed & died).sum()), np.int64),
        labels=[DIED],
        titles=["Died in the hospital"],
    )
    return outcome, {"death_told_in_note": int(told.sum()), "flag_missing": int((~known).sum())}


def tells_of_death(note: str) -> bool:
    """Whether an admission note gives the death away, by CORE's phrases.

    What its family and social history say of others who expired does not count.
    """
    return bool(_GIVEN_AWAY.search(note) or _EXPIRED.search(_OF_OTHERS.sub("", note)))


def _coded(
    kind: Kind,
    cohort: pa.Table,
    rows: CodedRows,
    observed: NDArray[np.int64],
    titles: pa.Table | None,
    config: DiagnosesConfig | ProceduresConfig,
) -> Outcome:
    """The outcome of code rows that are in their admission's version; observed [admissions]."""
    if config.grouping == "category":
        rows = replace(rows, code=category(rows.code, pa.array(rows.version), kind))
    names = SYSTEMS[kind]
    in_training = pc.equal(cohort["split"], "train").to_numpy()
    admission, label, labels = frequent(
        rows.admission,
        pc.if_else(pc.equal(pa.array(rows.version), 9), names[9], names[10]),
        rows.code,
        in_training,
        config.min_count,
    )
    if not labels:
        raise ConfigError(
            f"outcome '{config.name}': no code is held by {config.min_count} of the "
            f"{int(in_training.sum())} training admissions; lower its min_count"
        )
    listed = {} if titles is None else titles_of(titles, kind, config.grouping)
    version_of = {name: version for version, name in names.items()}
    return Outcome(
        systems=[names.get(version) for version in observed.tolist()],
        admission=admission,
        label=label,
        labels=labels,
        titles=[listed.get((version_of[system], code)) for system, code in labels],
    )


def _chosen(versions: NDArray[np.int64], wanted: str) -> NDArray[np.int64]:
    """The admissions' versions, 0 where another one was asked for [admissions]."""
    return versions if wanted == "both" else np.where(versions == int(wanted), versions, 0)


def _tally(rows: CodedRows, observed: NDArray[np.int64], mixed: int) -> dict[str, int]:
    versions = Counter(observed.tolist())
    other = int((observed[rows.admission] != rows.version).sum())
    return {
        "observed_icd9": versions[9],
        "observed_icd10": versions[10],
        "admissions_of_mixed_version": mixed,
        "code_rows": len(rows.code),
        "code_rows_of_another_version": other,
        "code_rows_outside_the_cohort": rows.elsewhere,
        "code_rows_of_another_patient": rows.mistaken,
    }
