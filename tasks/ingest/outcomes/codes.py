"""ICD codes of admissions: read as strings, cleaned, grouped, and kept to one version each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.rows import row_of
from tasks.ingest.rules import clean

Kind = Literal["diagnoses", "procedures"]
SYSTEMS: dict[Kind, dict[int, str]] = {
    "diagnoses": {9: "icd9cm", 10: "icd10cm"},
    "procedures": {9: "icd9pcs", 10: "icd10pcs"},
}


def category(codes: pa.ChunkedArray, versions: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """The category of each code.

    Diagnoses: three characters, for ICD-9 V and E codes four (CORE); an E code of ICD-10 keeps
    three. Procedures: three of ICD-9, with their leading zeros, four of ICD-10.
    """
    three, four = (pc.utf8_slice_codeunits(codes, 0, length) for length in (3, 4))
    nine = pc.equal(versions, 9)
    if kind == "procedures":
        return pc.if_else(nine, three, four)
    return pc.if_else(pc.and_(nine, pc.match_substring_regex(codes, "^[VE]")), four, three)


@dataclass(frozen=True)
class CodedRows:
    """The rows of a code table that belong to the cohort; all arrays are [rows]."""

    admission: NDArray[np.int64]  # row in the cohort
    version: NDArray[np.int64]
    code: pa.ChunkedArray  # cleaned
    elsewhere: int  # rows of admissions outside the cohort
    mistaken: int  # rows whose subject_id is not the admission's

    def of_version(self, versions: NDArray[np.int64]) -> CodedRows:
        """The rows in their admission's version, given per admission (0: none)."""
        kept = versions[self.admission] == self.version
        return CodedRows(
            self.admission[kept],
            self.version[kept],
            self.code.filter(pa.array(kept)),
            self.elsewhere,
            self.mistaken,
        )


def of_cohort(table: pa.Table, cohort: pa.Table) -> CodedRows:
    """Match a code table with the cohort's hadm_id and subject_id."""
    rows = row_of(table["hadm_id"].to_numpy(), cohort["hadm_id"].to_numpy())
    inside = rows >= 0
    subjects = cohort["subject_id"].to_numpy()
    own = inside.copy()
    own[inside] = subjects[rows[inside]] == table["subject_id"].to_numpy()[inside]
    return CodedRows(
        rows[own],
        table["icd_version"].to_numpy()[own].astype(np.int64),
        clean(table["icd_code"].filter(pa.array(own))),
        int((~inside).sum()),
        int((inside & ~own).sum()),
    )


def versions_of(diagnoses: CodedRows, admissions: int) -> tuple[NDArray[np.int64], int]:
    """The ICD version that each admission was coded in [admissions], and how many mix both.

    It is the version of most of its diagnosis rows, 10 where they are equally many, 0 without any.
    """
    nine, ten = (
        np.bincount(diagnoses.admission[diagnoses.version == version], minlength=admissions)
        for version in (9, 10)
    )
    versions = np.where(nine + ten == 0, 0, np.where(nine > ten, 9, 10))
    return versions, int(((nine > 0) & (ten > 0)).sum())
