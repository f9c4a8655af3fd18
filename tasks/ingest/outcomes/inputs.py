"""What an outcome is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from tasks.ingest.outcomes.labels import Outcome
from tasks.ingest.stays import Stays

Counted = tuple[Outcome, dict[str, int]]


@dataclass(frozen=True)
class Inputs:
    """The cohort and the source's tables, as `layout.py` has them.

    cohort: of schema ADMISSIONS, without the notes.
    tables: by name; the tables of titles may be missing.
    notes: yields each admission's note, in the cohort's order.
    """

    cohort: pa.Table
    tables: Mapping[str, pa.Table]
    notes: Callable[[], Iterator[str]]

    @cached_property
    def all_stays(self) -> Stays:
        """Every admission of the source; needs its tables admissions and deaths."""
        return Stays.of(self.tables["admissions"], self.tables["deaths"])

    @cached_property
    def stays(self) -> Stays:
        """The cohort's admissions, in its order."""
        return self.all_stays.of_admissions(self.cohort["hadm_id"].to_numpy())
