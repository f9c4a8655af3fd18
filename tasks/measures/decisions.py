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
from tasks.measures.sample import Sample

STEPS = 100
THRESHOLDS = np.arange(1, STEPS) / STEPS  # 0.01, 0.02, ..., 0.99
_ROUNDING = 1e-9  # a probability this little below a threshold is at it


@dataclass(frozen=True)
class NetBenefit:
    """Means over labels at each of THRESHOLDS; NaN where there is no label."""

    model: NDArray[np.float64]  # [thresholds]
    all: NDArray[np.float64]  # [thresholds], acting on everybody


def net_benefit(sample: Sample, labels: NDArray[np.int64], line: Recalibration) -> NetBenefit:
    """The mean net benefit over these labels, of their logits taken through `line`.

    Args:
        labels: those to measure; each is observed somewhere.

    >>> sample = Sample.of(np.log([[4.0], [1.5], [0.25]]), [[1], [0], [0]])  # 0.8, 0.6, 0.2
    >>> from tasks.measures.recalibration import unchanged
    >>> benefit = net_benefit(sample, np.array([0]), unchanged(1))
    >>> np.round([benefit.model[49], benefit.all[49]], 4)  # at 0.5: 1 / 3 - 1 / 3, 1 / 3 - 2 / 3
    array([ 0.    , -0.3333])
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

    parts = by_column(work, sample, labels)
    with np.errstate(invalid="ignore"):
        model, everybody = np.sum(parts, axis=0) / np.float64(len(labels))
    return NetBenefit(model, everybody)


def _at_least(step: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many are at or above each threshold."""
    counts = np.bincount(step, minlength=STEPS + 1)
    return np.cumsum(counts[::-1])[::-1][1:STEPS].astype(np.float64)
