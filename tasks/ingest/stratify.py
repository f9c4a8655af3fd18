"""Iterative stratification of patients: every label has about its share in every split.

Sechidis, Tsoumakas and Vlahavas, On the stratification of multi-label data, ECML PKDD 2011: the
label with the fewest patients left goes first, and each of its patients goes to the split that
lacks that label most.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bounded = tuple[NDArray[np.int64], NDArray[np.int64]]  # values, and where those of each row begin


def stratify(
    uniform: NDArray[np.float64], labels: pa.Table, shares: tuple[float, ...], min_patients: int
) -> NDArray[np.int8]:
    """Return each patient's split, [patients]: an index into `shares`.

    Args:
        uniform: a random number for each patient, [patients]; the lowest goes first, and it
            decides ties.
        labels: `patient` (a row of `uniform`) and `label`; a row may occur twice.
        shares: each split's share of the patients; together 1.
        min_patients: a label with fewer patients is too rare to be split; they go to the first
            split.
    """
    patient, label, label_count = _distinct(labels)
    of_patient = _grouped(patient, label, len(uniform))
    by_number = np.argsort(uniform[patient], kind="stable")
    of_label = _grouped(label[by_number], patient[by_number], label_count)
    remaining = np.diff(of_label[1])
    wanted = _Wanted(remaining, len(uniform), shares)
    chosen = np.full(len(uniform), -1, np.int8)

    def assign(rows: NDArray[np.int64], label: int | None, split: int | None = None) -> None:
        for row in rows.tolist():
            has = _of(of_patient, row)
            best = wanted.most(label, uniform[row]) if split is None else split
            wanted.take(best, has.tolist())
            remaining[has] -= 1
            chosen[row] = best

    with_rare = [_of(of_label, rare) for rare in np.flatnonzero(remaining < min_patients).tolist()]
    assign(np.unique(np.concatenate([np.zeros(0, np.int64), *with_rare])), None, split=0)
    while (rarest := _rarest(remaining)) is not None:
        with_it = _of(of_label, rarest)
        assign(with_it[chosen[with_it] < 0], rarest)
    without = np.flatnonzero(chosen < 0)
    assign(without[np.argsort(uniform[without], kind="stable")], None)
    return chosen


class _Wanted:
    """How many more patients each split wants: with each label, and in all."""

    def __init__(self, counts: NDArray[np.int64], patients: int, shares: tuple[float, ...]) -> None:
        # lists: one number at a time, they are ten times as fast as arrays
        self._of_label = [(counts * share).tolist() for share in shares]
        self._in_all = [patients * share for share in shares]

    def most(self, label: int | None, number: float) -> int:
        """The split that lacks the label most, or, without a label, patients."""
        lacks = [
            (0.0 if label is None else of_label[label], in_all)
            for of_label, in_all in zip(self._of_label, self._in_all, strict=True)
        ]
        most = max(lacks)
        ties = [split for split, lack in enumerate(lacks) if lack == most]
        return ties[int(number * 2**32) % len(ties)]

    def take(self, split: int, has: list[int]) -> None:
        """Count a patient with these labels as assigned."""
        self._in_all[split] -= 1
        of_label = self._of_label[split]
        for label in has:
            of_label[label] -= 1


def _distinct(labels: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Each (patient, label) once, and the number of labels; a label's number is its rank."""
    once = labels.group_by(["patient", "label"]).aggregate([])
    names = pc.unique(once["label"]).sort()
    label = pc.index_in(once["label"], names).to_numpy().astype(np.int64)
    patient = once["patient"].to_numpy().astype(np.int64)
    order = np.lexsort((label, patient))
    return patient[order], label[order], len(names)


def _grouped(keys: NDArray[np.int64], values: NDArray[np.int64], groups: int) -> Bounded:
    """The values by their keys, in their order."""
    sizes = np.bincount(keys, minlength=groups)
    return values[np.argsort(keys, kind="stable")], np.concatenate([[0], np.cumsum(sizes)])


def _of(grouped: Bounded, group: int) -> NDArray[np.int64]:
    values, bounds = grouped
    return values[bounds[group] : bounds[group + 1]]


def _rarest(remaining: NDArray[np.int64]) -> int | None:
    """The label with the fewest unassigned patients; None where all are assigned."""
    if not len(remaining):
        return None
    left = np.where(remaining > 0, remaining, np.iinfo(np.int64).max)
    rarest = int(left.argmin())
    return rarest if remaining[rarest] > 0 else None
