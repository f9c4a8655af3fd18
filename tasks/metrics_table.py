"""What a row of the metrics table (schemas.METRICS) says, for writers and readers of it alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tasks import schemas
from tasks.measures.intervals import METHOD, Interval

# the outcome of rows on how likely notes are: what a decoder is asked for, and an encoder, by which
# output layer: the base's own, or one that was fitted to the base, and another with the adapter
NEXT_TOKEN = "next token"
OWN_OUTPUT = "masked words, by the base's own output layer"
FITTED_OUTPUT = "masked words, by fitted output layers"
WITHHELD = "interval withheld"  # a method begins with it where there is none, and says why
# groups of labels by how many training admissions have them: (at least so many, the group)
BANDS = (
    (0, "cases=0"),
    (1, "cases=1-24"),
    (25, "cases=25-99"),
    (100, "cases=100-999"),
    (1000, "cases=1000+"),
)
_DEFAULTS = {"against": None, "split": "test", "group": "all", "code_system": None, "code": None}


def valued(metric: str, interval: Interval, method: str = METHOD) -> dict[str, Any]:
    """A metric with its interval; the method says why where that is withheld."""
    bounds = {"low": interval.low, "high": interval.high}
    method = f"{WITHHELD}: {interval.reason}" if interval.reason else method
    return {"metric": metric, "method": method, "value": interval.value, **bounds}


def counted(metric: str, value: float, method: str = "count") -> dict[str, Any]:
    """A metric without an interval."""
    return {"metric": metric, "method": method, "value": float(value)}


def to_table(rows: Iterable[Mapping[str, Any]], **named: Any) -> pa.Table:
    """The rows, each with what is named (run, seed), as schemas.METRICS; NaN becomes null."""
    listed = [{**_DEFAULTS, **row, **named} for row in rows]
    for row in listed:
        for name in ("value", "low", "high"):
            row[name] = _or_null(row.get(name))
    return pa.Table.from_pylist(listed, schemas.METRICS)


def _or_null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
