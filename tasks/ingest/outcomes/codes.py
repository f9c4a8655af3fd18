"""ICD codes of admissions: cleaned, put into categories, and matched with one version each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.lookup import match_admissions

Kind = Literal["diagnoses", "procedures"]
SYSTEMS: dict[Kind, dict[int, str]] = {
    "diagnoses": {9: "icd9cm", 10: "icd10cm"},
    "procedures": {9: "icd9pcs", 10: "icd10pcs"},
}


def clean(codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """ICD codes as letters and digits only, in upper case: " 250.00 " becomes "25000"."""
    return pc.utf8_upper(pc.replace_substring_regex(codes, "[^0-9A-Za-z]", ""))


def category(codes: pa.ChunkedArray, versions: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """The category of each code.

    Diagnoses: three characters, four for ICD-9's V and E codes (CORE); an E code of ICD-10 keeps
    three. Procedures: three in ICD-9, with their leading zeros, four in ICD-10.
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
        """The rows in their admission's version; versions are [admissions], 0: none."""
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
    rows, same_patient = match_admissions(table, cohort)
    return CodedRows(
        rows[same_patient],
        table["icd_version"].to_numpy()[same_patient].astype(np.int64),
        clean(table["icd_code"].filter(pa.array(same_patient))),
        int((rows < 0).sum()),
        int(((rows >= 0) & ~same_patient).sum()),
    )


def versions_of(diagnoses: CodedRows, admissions: int) -> tuple[NDArray[np.int64], int]:
    """The ICD version in which each admission was coded [admissions], and how many mix both.

    It is the version of most of its diagnosis rows, 10 in a tie, 0 without any.
    """
    nine, ten = (
        np.bincount(diagnoses.admission[diagnoses.version == version], minlength=admissions)
        for version in (9, 10)
    )
    versions = np.where(nine + ten == 0, 0, np.where(nine > ten, 9, 10))
    return versions, int(((nine > 0) & (ten > 0)).sum())
