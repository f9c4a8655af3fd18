"""AUROC within groups of patients, no group being so small that it points at someone.

A label counts in a group where at least FEWEST_PATIENTS of its patients have it, and as many lack
it: of fewer, the AUROC is noise whose size its own influences hide, and two groups could not be
compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.data.reading import GROUPED_BY
from tasks.evaluate.known import Known
from tasks.measures.grouped import GroupedAurocs, grouped_aurocs
from tasks.measures.intervals import METHOD, PAIRED_METHOD, Interval, difference, holm, interval
from tasks.measures.sample import Sample, row_blocks
from tasks.measures.small_samples import FEWEST_PATIENTS
from tasks.metrics_table import counted, valued

AGE_BANDS = ((18, "under 18"), (45, "18-44"), (65, "45-64"), (80, "65-79"), (10**6, "80 and over"))
OTHER, UNKNOWN = "other", "unknown"
SHARE_OF_LABELS = 0.5  # of the labels of the pair that shares most: with less a pair is left out,
# for its gap would be the largest by chance
_METHOD = "{}, labels of {} patients or more of the group"
_NONE = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Gap:
    """Two groups of a column, the first above the second over the labels that both have."""

    first: str
    second: str
    labels: int
    apart: Interval  # first minus second


def subgroup_rows(
    variant: str, sample: Sample, known: Known, smallest: int
) -> Iterator[dict[str, Any]]:
    """Macro AUROC of a variant within each group of each column, and the column's largest gap.

    A column with one group only says nothing and is left out.
    """
    names, partitions = [], []
    for column in GROUPED_BY:
        groups = groups_of(known.admissions[column], column, known.patients, smallest)
        values, codes = np.unique(groups.astype(str), return_inverse=True)
        if len(values) > 1:
            names.append((column, values.tolist()))
            partitions.append(codes.astype(np.int64))
    fewest = max(smallest, FEWEST_PATIENTS)
    ranked = grouped_aurocs(sample, partitions, fewest)
    cases = _cases_of(known)
    whole = known.sets[-1].row | {"variant": variant}
    for (column, values), aurocs in zip(names, ranked, strict=True):
        for group, name in enumerate(values):
            rows = aurocs.group == group
            base = whole | {
                "group": f"{column}={name}",
                "n": int(rows.sum()),
                "n_patients": len(np.unique(known.patients[rows])),
                "positives": int(cases[rows].sum()),
            }
            macro = interval(aurocs.macro(group), known.patients)
            yield base | valued("auroc_macro", macro, _METHOD.format(METHOD, fewest))
            defined = float(aurocs.shared(group, group).sum())
            yield base | counted("labels_defined", defined)
        gaps = largest_gaps(aurocs, values, known.patients)
        yield from _gap_rows(whole | {"group": column}, gaps)


def groups_of(
    column: pa.ChunkedArray, name: str, patients: NDArray[np.int64], smallest: int
) -> NDArray[np.object_]:
    """Name each admission's group; [admissions].

    Groups of fewer than `smallest` patients join "other". Where that is still too small, the next
    smallest group joins too, or its size would follow by subtraction from the total. A group that
    is called so itself ("OTHER") joins them.
    """
    if name == "age":
        column = pa.chunked_array([pa.array([_band(age) for age in column.to_pylist()])])
    groups = np.array(pc.fill_null(column, UNKNOWN).to_pylist(), object)
    values, codes = np.unique(groups.astype(str), return_inverse=True)
    members = [np.unique(patients[codes == code]) for code in range(len(values))]
    order = sorted(range(len(values)), key=lambda code: (len(members[code]), values[code]))
    joined: list[int] = []
    together = np.empty(0, patients.dtype)
    for code in order:
        if len(members[code]) < smallest or 0 < len(together) < smallest:
            joined.append(code)
            together = np.union1d(together, members[code])
    if joined:
        joined += [code for code in order if values[code].lower() == OTHER]
        groups[np.isin(codes, joined)] = OTHER
        if len(together) < smallest:
            groups[:] = OTHER
    return groups


def largest_gaps(aurocs: GroupedAurocs, names: list[str], patients: NDArray[np.int64]) -> list[Gap]:
    """The pairs of groups that can be compared, the largest difference first."""
    pairs = list(combinations(range(len(names)), 2))
    labels = [int(aurocs.shared(*pair).sum()) for pair in pairs]
    fewest = max(1.0, SHARE_OF_LABELS * max(labels, default=0))
    gaps = []
    for (first, second), count in zip(pairs, labels, strict=True):
        if count < fewest:
            continue
        apart = difference(aurocs.macro(first, second), aurocs.macro(second, first), patients)
        if apart.value < 0:
            first, second = second, first
            apart = replace(apart, value=-apart.value, low=-apart.high, high=-apart.low)
        gaps.append(Gap(names[first], names[second], count, apart))
    return sorted(gaps, key=lambda gap: -gap.apart.value)


def _gap_rows(base: dict[str, Any], gaps: list[Gap]) -> Iterator[dict[str, Any]]:
    """The largest gap, its p-value adjusted after Holm for all pairs, and as it stands alone."""
    if not gaps:
        yield base | valued("auroc_macro_gap", _NONE, "no two groups could be compared")
        return
    top = gaps[0]
    chosen = f"chosen after looking at {len(gaps)} pairs" if len(gaps) > 1 else "the only pair"
    words = f"{top.first} minus {top.second}; {top.labels} label{'s' * (top.labels > 1)}; {chosen}"
    # unknown where nothing varies: no evidence
    adjusted = holm(np.nan_to_num([gap.apart.p_value for gap in gaps], nan=1.0).tolist())[0]
    yield base | valued("auroc_macro_gap", top.apart, f"{words}; {PAIRED_METHOD}")
    for metric, value, how in (
        ("auroc_macro_gap_p", adjusted, "Holm over all pairs"),
        ("auroc_macro_gap_p_unadjusted", top.apart.p_value, "two-sided, unadjusted"),
    ):
        yield base | counted(metric, value, f"{words}; {how}")


def _cases_of(known: Known) -> NDArray[np.int64]:
    """How many observed labels each admission has; [admissions]."""
    cases = np.empty(len(known.cases), np.int64)
    for rows in row_blocks(known.cases.shape):
        cases[rows] = np.count_nonzero(known.cases[rows] & known.observed[rows], axis=1)
    return cases


def _band(age: int | None) -> str:
    if age is None:
        return UNKNOWN
    return next(name for upper, name in AGE_BANDS if age < upper)
