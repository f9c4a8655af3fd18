"""The cohort's admissions, without their notes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks import schemas
from tasks.data.reading import read_table, refused, table_of

COLUMNS = (
    "hadm_id",
    "subject_id",
    "split",
    "age",
    "sex",
    "race",
    "insurance",
    "language",
    "admission_type",
)


def read_admissions(cohort: Path) -> pa.Table:
    """Read the cohort without its notes. Raises EvaluationError on duplicates or no test split."""
    admissions = read_table(table_of(cohort, "admissions"), schemas.ADMISSIONS, COLUMNS)
    duplicates = len(admissions) - len(pc.unique(admissions["hadm_id"]))
    if duplicates:
        raise refused(
            cohort,
            f"the cohort repeats {duplicates} of its {len(admissions)} admissions; ingest anew",
        )
    if not pc.any(pc.equal(admissions["split"], "test")).as_py():
        raise refused(
            cohort,
            f"none of the cohort's {len(admissions)} admissions is in the test split; "
            "raise ingest.split.test, or name test patients in the split file",
        )
    return admissions
