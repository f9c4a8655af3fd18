"""AUROC within groups of patients, no group being so small that it points at someone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.evaluate.inputs import Known
from tasks.evaluate.rows import measure, variant_rows

COLUMNS = ("sex", "age", "race", "insurance", "language", "admission_type")
AGE_BANDS = ((18, "under 18"), (45, "18-44"), (65, "45-64"), (80, "65-79"), (10**6, "80 and over"))
OTHER, UNKNOWN = "other", "unknown"
_AGGREGATES = ("auroc_macro", "auroc_micro", "labels_defined")


def subgroup_rows(
    variant: str, scores: NDArray[np.float32], known: Known, smallest: int
) -> Iterator[dict[str, Any]]:
    """Pooled macro and micro AUROC of a variant within each group of each column.

    A column with one group only says nothing and is left out.
    """
    for column in COLUMNS:
        groups = groups_of(known.admissions[column], column, known.patients, smallest)
        names = sorted(set(groups))
        for name in names if len(names) > 1 else ():
            rows = np.flatnonzero(groups == name)
            part = _part(known, rows)
            for row in variant_rows(measure(variant, scores[rows], part), part):
                aggregate = row["code_system"] is None and "group" not in row
                if aggregate and row["metric"] in _AGGREGATES:
                    yield row | {"group": f"{column}={name}"}


def groups_of(
    column: pa.ChunkedArray, name: str, patients: NDArray[np.int64], smallest: int
) -> NDArray[np.object_]:
    """Name each admission's group; [admissions].

    Groups of fewer than `smallest` patients join "other". Where that is still too small, the next
    smallest group joins too, or its size would follow by subtraction from the total.
    """
    if name == "age":
        column = pa.chunked_array([pa.array([_band(age) for age in column.to_pylist()])])
    groups = np.array(pc.fill_null(column, UNKNOWN).to_pylist(), object)
    sizes = {group: len(np.unique(patients[groups == group])) for group in set(groups)}
    order = sorted(sizes, key=lambda group: (sizes[group], str(group)))
    joined: list[str] = []
    for group in order:
        together = len(np.unique(patients[np.isin(groups, joined)])) if joined else 0
        if sizes[group] < smallest or 0 < together < smallest:
            joined.append(group)
    groups[np.isin(groups, joined)] = OTHER
    if joined and len(np.unique(patients[groups == OTHER])) < smallest:
        groups[:] = OTHER
    return groups


def _part(known: Known, rows: NDArray[np.int64]) -> Known:
    return replace(
        known,
        hadm_id=known.hadm_id[rows],
        patients=np.unique(known.patients[rows], return_inverse=True)[1],
        cases=known.cases[rows],
        observed=known.observed[rows],
        admissions=known.admissions.take(rows),
    )


def _band(age: int | None) -> str:
    if age is None:
        return UNKNOWN
    return next(name for upper, name in AGE_BANDS if age < upper)
