"""F1 at thresholds chosen on validation: by label, macro and micro, with influences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column
from tasks.measures.estimates import Estimate
from tasks.measures.sample import Sample, row_blocks

NEVER = np.float32(np.inf)  # the threshold of a label that is never predicted


@dataclass(frozen=True)
class F1:
    """F1 = 2 TP / (2 TP + FP + FN) of each label, and its means over each set of labels.

    A label without a case in test has no F1: it is NaN, and left out of the macro mean as it is
    left out of macro AUROC (its false alarms count in micro). A label that is never predicted but
    has cases scores 0.
    """

    f1: NDArray[np.float64]  # [labels]
    macro: tuple[Estimate, ...]  # one a set
    micro: tuple[Estimate, ...]  # one a set: of the cells of all its labels together


def best_thresholds(sample: Sample) -> NDArray[np.float32]:
    """The logit of each label at or above which calling it maximizes F1; [labels].

    Exact over all distinct scores: F1 can only peak at the score of a case. Of several peaks the
    highest threshold is taken. A label without an observed case gets NEVER.

    Args:
        sample: of the validation split.

    >>> best_thresholds(Sample.of([[1], [2], [3], [4]], [[0], [1], [0], [1]]))  # F1 0.8, not 0.67
    array([2.], dtype=float32)
    """
    thresholds = np.full(sample.labels, NEVER, np.float32)

    def work(columns: Iterator[Column]) -> None:
        for column in columns:
            cases = np.sort(column.scores[column.cases])
            if not len(cases):
                continue
            true = len(cases) - np.searchsorted(cases, cases)
            called = len(column.scores) - np.searchsorted(np.sort(column.scores), cases)
            f1 = 2 * true / (called + len(cases))
            thresholds[column.label] = cases[len(cases) - 1 - np.argmax(f1[::-1])]

    by_column(work, sample, np.arange(sample.labels))
    return thresholds


def f1_at(thresholds: NDArray[np.float32], sample: Sample, sets: Sequence[NDArray[np.bool_]]) -> F1:
    """F1 on test where logits at or above these thresholds are calls.

    Influences are those of a ratio (the delta method): with F = A / B, an admission that adds a to
    A and b to B has (a - F b) / B.

    Args:
        thresholds: [labels], from `best_thresholds`.
        sets: each [labels] bool, the labels that its macro and micro F1 are of.

    >>> sample = Sample.of([[1], [2], [3], [4]], [[0], [1], [0], [1]])
    >>> f1_at(np.float32([2]), sample, []).f1  # two of three calls are right, no case is missed
    array([0.8])
    """
    true, either = _counts(thresholds, sample)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(sample.positives > 0, 2 * true / either, np.nan)
    values, weights = [], []
    for labels in sets:
        defined = labels & ~np.isnan(f1)
        share = np.where(defined, 1 / np.maximum(either, 1), 0.0) / max(1, int(defined.sum()))
        values.append(float(f1[defined].mean()) if defined.any() else float("nan"))
        weights.append((2 * share, np.nan_to_num(f1) * share))
        total = float(either[labels].sum())
        values.append(2 * float(true[labels].sum()) / total if total else float("nan"))
        share = labels / max(total, 1.0)
        weights.append((2 * share, np.nan_to_num(values[-1]) * share))
    means = list(map(Estimate, values, _influences(thresholds, sample, weights)))
    return F1(f1, tuple(means[0::2]), tuple(means[1::2]))


def _counts(
    thresholds: NDArray[np.float32], sample: Sample
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True positives of each label, and its calls plus its cases; [labels] each."""
    true, either = np.zeros((2, sample.labels), np.int64)
    for rows in row_blocks(sample.scores.shape):
        called, case = _cells(thresholds, sample, rows)
        true += np.count_nonzero(called & case, axis=0)
        either += np.count_nonzero(called, axis=0) + np.count_nonzero(case, axis=0)
    return true, either


def _influences(
    thresholds: NDArray[np.float32],
    sample: Sample,
    weights: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """The influence of each admission on each mean, [means, admissions].

    Args:
        weights: what a label's cell adds to a mean if it is a true positive, and what it takes
            for being called and for being a case; [labels] each.
    """
    influences = np.zeros((len(weights), sample.admissions))
    for rows in row_blocks(sample.scores.shape):
        called, case = _cells(thresholds, sample, rows)
        for cells, added in (
            (called & case, [true for true, _ in weights]),
            (called, [-either for _, either in weights]),
            (case, [-either for _, either in weights]),
        ):
            owner, label = np.nonzero(cells)  # few of all cells
            for mean, weight in enumerate(added):
                influences[mean, rows] += np.bincount(owner, weight[label], minlength=len(cells))
    return influences


def _cells(
    thresholds: NDArray[np.float32], sample: Sample, rows: slice
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which cells of these rows are called, and which are cases."""
    observed = sample.observed[rows]
    return (sample.scores[rows] >= thresholds) & observed, sample.cases[rows] & observed
