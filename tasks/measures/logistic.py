"""Logistic regressions of many labels, each on its one score, by Newton's method.

The log-likelihood needs of the cases only their number and the sum of their scores, so that scores
may be gathered in bins: all labels are then solved at once on the bins, and a step or two on the
cells themselves makes each exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column
from tasks.measures.sample import Sample

BINS = 512
_AT_ONCE = 256  # labels whose bins are solved together: 1 MiB an array
_ROUNDS = 100
_TOLERANCE = 1e-9  # of the intercept
_WHOLE_STEP = 1e-6  # in each unknown, is no step: the error left is about its square

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """The scores of some labels, or bins of them, and what is known of the cases."""

    scores: Floats  # [labels, cells]
    counts: Floats | None  # [labels, cells] admissions in the bin; None: each cell is one
    cases: Floats  # [labels]
    case_scores: Floats  # [labels] sum over the cases

    def part(self, labels: slice) -> Cells:
        counts = None if self.counts is None else self.counts[labels]
        return Cells(self.scores[labels], counts, self.cases[labels], self.case_scores[labels])

    @classmethod
    def binned(
        cls,
        sample: Sample,
        labels: NDArray[np.int64],
        totals: Callable[[Floats, NDArray[np.bool_]], tuple[float, float]],
    ) -> Cells:
        """The bins of these labels' scores; `totals` gives the last two of one label's."""
        bins, sums = np.zeros((2, len(labels), BINS)), np.zeros((2, len(labels)))

        def work(columns: Iterator[Column]) -> None:
            for column in columns:
                row = np.searchsorted(labels, column.label)
                scores = column.scores.astype(np.float64)
                bins[:, row] = binned(scores)
                sums[:, row] = totals(scores, column.cases)

        by_column(work, sample, labels)
        return cls(*bins, *sums)


@dataclass(frozen=True)
class Line:
    """log-odds = slope * score + intercept; NaN where there is no such maximum."""

    slope: Floats  # [labels]
    intercept: Floats  # [labels]


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-logits)), made in one new array.

    >>> sigmoid(np.array([0.0, np.log(3)]))
    array([0.5 , 0.75])
    """
    chances = np.negative(logits)
    with np.errstate(over="ignore"):
        np.exp(chances, out=chances)
    chances += 1.0
    return np.reciprocal(chances, out=chances)


def binned(scores: Floats) -> tuple[Floats, Floats]:
    """Gather one label's scores in BINS bins of equal width: mean score, and how many; [BINS].

    >>> means, counts = binned(np.array([0.0, 0.0, 1.0]))
    >>> means[[0, -1]], counts[[0, -1]]
    (array([0., 1.]), array([2., 1.]))
    """
    low, high = float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf))
    if not high > low:
        count = np.zeros(BINS)
        count[0] = len(scores)
        return np.full(BINS, low if len(scores) else 0.0), count
    index = ((scores - low) * ((BINS - 1e-6) / (high - low))).astype(np.int64)
    count = np.bincount(index, minlength=BINS).astype(np.float64)
    total = np.bincount(index, scores, minlength=BINS)
    return np.where(count > 0, total / np.maximum(count, 1), low), count


def overlaps(scores: NDArray[np.floating], cases: NDArray[np.bool_]) -> bool:
    """Whether cases and controls overlap in one label: else no finite slope is the likeliest.

    Args:
        scores, cases: [observed].

    >>> overlaps(np.array([0, 1, 2, 3]), np.array([False, True, False, True]))
    True
    """
    with_label, without = scores[cases], scores[~cases]
    if not len(with_label) or not len(without):
        return False
    return bool(with_label.min() < without.max() and without.min() < with_label.max())


def fit_line(cells: Cells, start: Line | None = None) -> Line:
    """Maximize the likelihood of slope and intercept, label by label.

    >>> scores, cases = np.repeat([1.0, -1.0], 4), np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    >>> fit_line(of_label(scores, cases)).slope.round(4)  # log(3)
    array([1.0986])
    """
    slopes, intercepts = np.full((2, len(cells.cases)), np.nan)
    for labels in _parts(cells):
        begin = None if start is None else Line(start.slope[labels], start.intercept[labels])
        slopes[labels], intercepts[labels] = _fit_line(cells.part(labels), begin)
    return Line(slopes, intercepts)


def fit_offset(cells: Cells, start: Floats | None = None) -> Floats:
    """Maximize the likelihood of the intercept, the score's slope being held at 1; [labels].

    >>> fit_offset(of_label(np.zeros(4), np.array([1, 0, 0, 0], bool))).round(4)  # -log(3)
    array([-1.0986])
    """
    offsets = np.full(len(cells.cases), np.nan)
    for labels in _parts(cells):
        begin = None if start is None else start[labels]
        offsets[labels] = _fit_offset(cells.part(labels), begin)
    return offsets


@np.errstate(divide="ignore", invalid="ignore")  # a step of nothing, and what turns NaN
def _climb(point: Floats, slope: Callable[[Floats], tuple[Floats, Floats]]) -> Floats:
    """Newton's steps up to the maximum of concave functions; NaN where it does not end.

    A step that went so far over the top that it is steeper there than half of where it began is
    halved; the longest step allowed doubles as long as none is.

    Args:
        point: [unknowns, labels], where to begin.
        slope: the gradient there and Newton's step, [unknowns, labels] each.

    >>> _climb(np.zeros((1, 1)), lambda at: (3.0 - at, 3.0 - at))  # up to the top of -(x - 3)^2 / 2
    array([[3.]])
    """
    taken, promised = np.zeros_like(point), np.full(point.shape[1], np.inf)
    radius, arrived = np.ones(point.shape[1]), np.zeros(point.shape[1], bool)
    for _ in range(_ROUNDS):
        gradient, whole = slope(point)
        back = (gradient * taken).sum(0) < -0.5 * promised
        size = np.abs(whole).max(0)
        step = np.where(back, -taken / 2, whole * np.minimum(1.0, radius / size))
        taken = np.where(back, taken / 2, step)
        promised = np.where(back, promised / 2, (gradient * step).sum(0))
        radius = np.where(back, radius / 2, radius * 2)
        point = np.where(arrived, point, point + step)
        arrived |= (size <= _WHOLE_STEP) & ~back
        if (arrived | np.isnan(size)).all():
            break
    return np.where(arrived, point, np.nan)


def of_label(scores: Floats, cases: NDArray[np.bool_]) -> Cells:
    """One label's own cells, [observed]."""
    return Cells(scores[None, :], None, *np.array(of_cases(scores, cases))[:, None])


def of_cases(scores: Floats, cases: NDArray[np.bool_]) -> tuple[float, float]:
    """How many cases there are, and the sum of their scores."""
    return float(np.count_nonzero(cases)), float(scores[cases].sum())


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # what has no maximum turns NaN
def _fit_line(cells: Cells, start: Line | None) -> tuple[Floats, Floats]:
    mean, spread = _moments(cells)
    score = (cells.scores - mean[:, None]) / spread[:, None]  # the two unknowns become comparable
    target = np.stack([cells.cases, (cells.case_scores - mean * cells.cases) / spread])
    begin = np.stack([_base_log_odds(cells), np.zeros(len(mean))])  # intercept, slope on `score`
    if start is not None:
        known = np.isfinite(start.slope) & np.isfinite(start.intercept)
        given = np.stack([start.intercept + start.slope * mean, start.slope * spread])
        begin = np.where(known, given, begin)

    def slope(at: Floats) -> tuple[Floats, Floats]:
        chance = sigmoid(at[1][:, None] * score + at[0][:, None])
        weighted = chance if cells.counts is None else chance * cells.counts
        gradient = target - np.stack([weighted.sum(1), _dot(weighted, score)])
        weight = weighted * (1 - chance)
        h00, h01 = weight.sum(1), _dot(weight, score)
        h11 = np.einsum("ij,ij,ij->i", weight, score, score)
        step = np.stack(
            [h11 * gradient[0] - h01 * gradient[1], h00 * gradient[1] - h01 * gradient[0]]
        )
        return gradient, step / (h00 * h11 - np.square(h01))

    intercept, steepness = _climb(begin, slope)
    return steepness / spread, intercept - steepness / spread * mean


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def _fit_offset(cells: Cells, start: Floats | None) -> Floats:
    """Newton's steps between two bounds that close in: saturated scores have no curvature.

    Where a step is not half as long as the one before, as when it goes to and fro between two flat
    parts, the bounds are halved in its place (Press et al., Numerical Recipes, 9.4).

    The mean chance is that of the cases at an intercept between base - max(scores) and
    base - min(scores), base being the cases' log-odds.
    """
    base = _base_log_odds(cells)
    low, high = base - cells.scores.max(1), base - cells.scores.min(1)
    at = (low + high) / 2 if start is None else np.clip(np.nan_to_num(start), low, high)
    last = high - low
    for _ in range(_ROUNDS):
        chance = sigmoid(cells.scores + at[:, None])
        weighted = chance if cells.counts is None else chance * cells.counts
        gradient = cells.cases - weighted.sum(1)
        low, high = np.where(gradient >= 0, at, low), np.where(gradient <= 0, at, high)
        moved = at + gradient / (weighted.sum(1) - _dot(weighted, chance))
        shorter = np.abs(moved - at) <= last / 2
        inside = (low <= moved) & (moved <= high)
        moved = np.where(inside & shorter, moved, (low + high) / 2)
        last = np.abs(moved - at)
        arrived = np.abs(moved - at) <= _TOLERANCE * np.maximum(1.0, np.abs(at))
        at = moved
        if (arrived | np.isnan(at)).all():
            break
    return np.where(np.isfinite(at), at, np.nan)


def _moments(cells: Cells) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each label's scores; NaN where all are the same."""
    if cells.counts is None:
        mean, spread = cells.scores.mean(1), cells.scores.std(1)
    else:
        total = cells.counts.sum(1)
        mean = _dot(cells.counts, cells.scores) / total
        apart = cells.scores - mean[:, None]
        spread = np.sqrt(np.einsum("ij,ij,ij->i", cells.counts, apart, apart) / total)
    return mean, np.where(spread > 0, spread, np.nan)


def _base_log_odds(cells: Cells) -> Floats:
    width = float(cells.scores.shape[1])
    total = np.full(len(cells.cases), width) if cells.counts is None else cells.counts.sum(1)
    with np.errstate(divide="ignore"):
        return np.log(cells.cases / (total - cells.cases))


def _dot(first: Floats, second: Floats) -> Floats:
    """The scalar product of each label's rows; [labels]."""
    products: Floats = np.einsum("ij,ij->i", first, second)
    return products


def _parts(cells: Cells) -> list[slice]:
    """The labels in runs that are solved together."""
    return [slice(first, first + _AT_ONCE) for first in range(0, len(cells.cases), _AT_ONCE)]
