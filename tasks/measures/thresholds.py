"""F1 at thresholds chosen on validation: by label, macro and micro, with influences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column, positives_of, row_blocks
from tasks.measures.estimates import Estimate

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


@dataclass(frozen=True)
class _Weights:
    """What a cell adds to a mean if it is a true positive, and if it is called or a case."""

    true: NDArray[np.float64]  # [labels]
    either: NDArray[np.float64]  # [labels]


def best_thresholds(
    scores: NDArray[np.float32], cases: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The logit of each label at or above which calling it maximizes F1; [labels].

    Exact over all distinct scores: F1 can only peak at the score of a case. Of several peaks the
    highest threshold is taken. A label without an observed case gets NEVER.

    Args:
        scores, cases, observed: [admissions, labels], of the validation split.
    """
    found = np.full(scores.shape[1], NEVER, np.float32)

    def work(columns: Iterator[Column]) -> None:
        for column in columns:
            own = np.sort(column.scores[column.cases])
            if not len(own):
                continue
            true = len(own) - np.searchsorted(own, own)
            called = len(column.scores) - np.searchsorted(np.sort(column.scores), own)
            f1 = 2 * true / (called + len(own))
            found[column.label] = own[len(own) - 1 - np.argmax(f1[::-1])]

    by_column(work, scores, cases, observed, np.arange(scores.shape[1]))
    return found


def f1_at(
    thresholds: NDArray[np.float32],
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    sets: Sequence[NDArray[np.bool_]],
) -> F1:
    """F1 on test where logits at or above these thresholds are calls.

    Influences are those of a ratio (the delta method): with F = A / B, an admission that adds a to
    A and b to B has (a - F b) / B.

    Args:
        thresholds: [labels], from `best_thresholds`.
        scores, cases, observed: [admissions, labels].
        sets: each [labels] bool, the labels that its macro and micro F1 are of.
    """
    true, either = _counts(thresholds, scores, cases, observed)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(positives_of(cases, observed) > 0, 2 * true / either, np.nan)
    values, weights = [], []
    for labels in sets:
        defined = labels & ~np.isnan(f1)
        share = np.where(defined, 1 / np.maximum(either, 1), 0.0) / max(1, int(defined.sum()))
        values.append(float(f1[defined].mean()) if defined.any() else float("nan"))
        weights.append(_Weights(2 * share, np.nan_to_num(f1) * share))
        total = float(either[labels].sum())
        values.append(2 * float(true[labels].sum()) / total if total else float("nan"))
        share = labels / max(total, 1.0)
        weights.append(_Weights(2 * share, np.nan_to_num(values[-1]) * share))
    influences = _influences(thresholds, scores, cases, observed, weights)
    found = [Estimate(value, each) for value, each in zip(values, influences, strict=True)]
    return F1(f1, tuple(found[0::2]), tuple(found[1::2]))


def _counts(
    thresholds: NDArray[np.float32],
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True positives of each label, and its calls plus its cases; [labels] each."""
    true, either = np.zeros((2, scores.shape[1]), np.int64)
    for rows in row_blocks(scores.shape):
        called, case = _cells(thresholds, scores, cases, observed, rows)
        true += np.count_nonzero(called & case, axis=0)
        either += np.count_nonzero(called, axis=0) + np.count_nonzero(case, axis=0)
    return true, either


def _influences(
    thresholds: NDArray[np.float32],
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    weights: Sequence[_Weights],
) -> NDArray[np.float64]:
    """The influence of each admission on each mean, [means, admissions]."""
    found = np.zeros((len(weights), len(scores)))
    for rows in row_blocks(scores.shape):
        called, case = _cells(thresholds, scores, cases, observed, rows)
        for cells, added in (
            (called & case, [weight.true for weight in weights]),
            (called, [-weight.either for weight in weights]),
            (case, [-weight.either for weight in weights]),
        ):
            owner, label = np.nonzero(cells)  # few of all cells
            for mean, each in enumerate(added):
                found[mean, rows] += np.bincount(owner, each[label], minlength=len(cells))
    return found


def _cells(
    thresholds: NDArray[np.float32],
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    rows: slice,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which cells of these rows are called, and which are cases."""
    seen = observed[rows]
    return (scores[rows] >= thresholds) & seen, cases[rows] & seen
