"""Decision curves: what acting on a prediction is worth (Vickers & Elkin, Med Decis Making 2006).

Whoever acts where the probability is at least t holds a false alarm to be worth t / (1 - t) of a
case found; so the net benefit of acting is TP/n - FP/n * t / (1 - t). Acting on nobody is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column
from tasks.measures.logistic import sigmoid
from tasks.measures.recalibration import Recalibration

STEPS = 100
THRESHOLDS = np.arange(1, STEPS) / STEPS  # 0.01, 0.02, ..., 0.99
_ROUNDING = 1e-9  # a probability this little below a threshold is at it


@dataclass(frozen=True)
class NetBenefit:
    """Means over labels at each of THRESHOLDS; NaN where there is no label."""

    model: NDArray[np.float64]  # [thresholds]
    all: NDArray[np.float64]  # [thresholds], acting on everybody


def net_benefit(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    labels: NDArray[np.int64],
    line: Recalibration,
) -> NetBenefit:
    """The mean net benefit over these labels, of their logits taken through `line`.

    Args:
        scores, cases, observed: [admissions, all labels].
        labels: those to measure; each is observed somewhere.
    """

    def work(columns: Iterator[Column]) -> NDArray[np.float64]:
        total = np.zeros((2, STEPS - 1))
        for column in columns:
            at, size = column.label, len(column.rows)
            chance = sigmoid(line.slope[at] * column.scores.astype(np.float64) + line.intercept[at])
            step = (chance * STEPS + _ROUNDING).astype(np.int64)  # thresholds up to it
            called = _at_least(step)
            true = _at_least(step[column.cases])
            share = np.count_nonzero(column.cases) / size
            odds = THRESHOLDS / (1 - THRESHOLDS)
            total[0] += (true - (called - true) * odds) / size
            total[1] += share - (1 - share) * odds
        return total

    parts = by_column(work, scores, cases, observed, labels)
    with np.errstate(invalid="ignore"):
        model, everybody = np.sum(parts, axis=0) / np.float64(len(labels))
    return NetBenefit(model, everybody)


def _at_least(step: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many are at or above each threshold."""
    counts = np.bincount(step, minlength=STEPS + 1)
    return np.cumsum(counts[::-1])[::-1][1:STEPS].astype(np.float64)
