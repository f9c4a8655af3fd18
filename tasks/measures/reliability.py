"""Reliability curves: what share of the cells with about the same probability are cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

POINTS = 20  # at most, of a curve
CASES_A_POINT = 10  # on average, or there are fewer: of 2 cases a share says next to nothing
FEWEST_POINTS = 5
_EDGE, _STEPS = 16.0, 512  # logits beyond +-16 (1e-7) share a bin; 512 bins in a unit of logit
_WIDTH = int(2 * _EDGE * _STEPS) + 1


@dataclass(frozen=True)
class Point:
    """A point of a curve, as schemas.CURVES has it: here a bin of cells."""

    x: float  # mean predicted probability
    y: float  # observed share
    low: float  # of its 95% interval; NaN: none
    high: float
    n: int | None  # cells behind it


@dataclass
class Reliability:
    """Cells in narrow bins of logit, which `points` joins to bins of equal mass."""

    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, _WIDTH)))
    # of each bin its cells, their probabilities, its cases

    def add(
        self, logits: NDArray[np.float64], chances: NDArray[np.float64], cases: NDArray[np.bool_]
    ) -> None:
        """Count these cells, [cells]."""
        near = np.clip(logits, -_EDGE, _EDGE)
        near += _EDGE
        near *= _STEPS
        index = np.rint(near, out=near).astype(np.int64)
        self.sums[0] += np.bincount(index, minlength=_WIDTH)
        self.sums[1] += np.bincount(index, chances, minlength=_WIDTH)
        self.sums[2] += np.bincount(index[cases], minlength=_WIDTH)

    def plus(self, other: Reliability) -> Reliability:
        return Reliability(self.sums + other.sums)

    def points(self, smallest: int = 1) -> list[Point]:
        """At most POINTS bins of about equal mass, each of at least `smallest` cells.

        Equal logits, and those within a 512th of each other, stay in one bin.

        >>> curve = Reliability()
        >>> curve.add(np.zeros(40), np.full(40, 0.5), np.arange(40) < 10)
        >>> [(point.x, point.y) for point in curve.points()]
        [(0.5, 0.25)]
        """
        upto = np.cumsum(self.sums[0])
        total = int(upto[-1])
        if total < smallest or not total:
            return []
        wanted = max(FEWEST_POINTS, int(self.sums[2].sum()) // CASES_A_POINT)
        bins = max(1, min(POINTS, wanted, total // smallest))
        ends = np.searchsorted(upto, np.arange(1, bins + 1) * total / bins - 1e-9)
        kept = [-1]
        for end in np.unique(ends):
            cells = upto[end] - (upto[kept[-1]] if kept[-1] >= 0 else 0)
            left = total - upto[end]
            if cells >= smallest and (left >= smallest or left == 0):
                kept.append(int(end))
        kept[-1] = len(upto) - 1
        return [self._point(slice(before + 1, end + 1)) for before, end in pairwise(kept)]

    def _point(self, bins: slice) -> Point:
        cells, predicted, cases = self.sums[:, bins].sum(axis=1).tolist()
        low, high = wilson(int(cases), int(cells))
        return Point(predicted / cells, cases / cells, low, high, int(cells))


def wilson(cases: int, cells: int) -> tuple[float, float]:
    """The 95% score interval of a share (Wilson, JASA 22:209-212, 1927).

    >>> [round(bound, 4) for bound in wilson(0, 10)]
    [0.0, 0.2775]
    """
    from scipy.stats import binomtest

    interval = binomtest(cases, cells).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
