"""What an outcome is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.rows import looked_up

Counted = tuple[Outcome, dict[str, int]]
Times = NDArray[np.datetime64]  # in microseconds, NaT where there is none

DAY = np.timedelta64(24 * 3600 * 10**6, "us")
HOUR = DAY // 24


@dataclass(frozen=True)
class Inputs:
    """The cohort and the source's tables, as `layout.py` has them.

    cohort: of schema ADMISSIONS, without the notes.
    tables: by name; those of titles may be missing.
    notes: yields each admission's note, in the cohort's order.
    """

    cohort: pa.Table
    tables: Mapping[str, pa.Table]
    notes: Callable[[], Iterator[str]]

    def of_admissions(self, table: str) -> pa.Table:
        """The table's row of each admission, by hadm_id, nulls where there is none."""
        return looked_up(self.tables[table], "hadm_id", self.cohort["hadm_id"].to_numpy())

    def of_patients(self, table: str) -> pa.Table:
        """The table's row of each admission's patient, by subject_id."""
        return looked_up(self.tables[table], "subject_id", self.cohort["subject_id"].to_numpy())

    def died(self) -> NDArray[np.bool_]:
        """Whether the admission ended in death, by hospital_expire_flag [admissions]."""
        flags = self.of_admissions("admissions")["hospital_expire_flag"]
        return pc.fill_null(pc.equal(flags, 1), False).to_numpy()


def times(column: pa.ChunkedArray) -> Times:
    """A column of times as numpy has them."""
    return column.to_numpy().astype("datetime64[us]")
