"""How well an admission's labels are ranked against each other, as automated coding is measured.

Precision at k, R-precision and mean average precision (MAP): each a mean over admissions, whose
observed labels are ranked by their logits; labels that are not observed are not ranked. Equal
logits stand at the last place of their run: a tie can only cost (for MAP as in scikit-learn). The
mean precision at k is over all observed admissions, those without any label counting 0, and its
divisor is always k (Mullenbach et al., NAACL 2018; Edin et al., SIGIR 2023); R-precision and
average precision are not defined without a label, and such admissions are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.sample import Sample, row_blocks
from tasks.threads import in_parts

DEPTHS = (5, 8, 15)


@dataclass(frozen=True)
class Coding:
    """The ranking of each admission's labels; its measures over any set of admissions."""

    positives: NDArray[np.int64]  # [admissions]
    hits: NDArray[np.int64]  # [depths, admissions] positives among the first k
    r_precision: NDArray[np.float64]  # [admissions]; NaN: no positive
    average_precision: NDArray[np.float64]  # [admissions]; NaN: no positive

    def precision_at(self, depth: int, rows: NDArray[np.bool_]) -> Estimate:
        """The mean over these admissions, [admissions] bool, of the precision at that depth."""
        return _mean(self.hits[DEPTHS.index(depth)] / depth, rows)

    def mean_r_precision(self, rows: NDArray[np.bool_]) -> Estimate:
        """Precision at as many labels as the admission has, over these admissions."""
        return _mean(self.r_precision, rows & (self.positives > 0))

    def mean_average_precision(self, rows: NDArray[np.bool_]) -> Estimate:
        """The mean over positives of the precision at their rank, over these admissions."""
        return _mean(self.average_precision, rows & (self.positives > 0))


def coding(sample: Sample) -> Coding:
    """Rank every admission's observed labels.

    >>> ranked = coding(Sample.of([[0.9, 0.8, 0.1, 0.2]], [[1, 0, 0, 1]]))  # first and third
    >>> ranked.r_precision, ranked.average_precision  # 1 / 2, (1 / 1 + 2 / 3) / 2
    (array([0.5]), array([0.83333333]))
    """
    scores, cases, observed = sample.scores, sample.cases, sample.observed
    blocks = row_blocks(scores.shape) or [slice(0)]
    parts = in_parts(lambda rows: _rank(scores[rows], cases[rows], observed[rows]), blocks)
    arrays = zip(*(vars(part).values() for part in parts), strict=True)
    return Coding(*(np.concatenate(of_parts, axis=-1) for of_parts in arrays))


def _rank(
    scores: NDArray[np.float32], cases: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> Coding:
    """Rank the labels of a block of admissions, by the ranks of its positives alone."""
    width = scores.shape[1]
    ranked = np.sort(np.where(observed, scores, -np.inf), axis=1)
    owner, label = np.nonzero(cases & observed)
    positives = np.bincount(owner, minlength=len(scores))
    bounds = np.concatenate(([0], np.cumsum(positives)))
    score = scores[owner, label]
    rank = np.empty(len(score), np.int64)  # 1 is the first; of equal scores the last
    for row in np.flatnonzero(positives):
        cells = slice(bounds[row], bounds[row + 1])
        rank[cells] = width - np.searchsorted(ranked[row], score[cells])
    order = np.argsort(owner * (width + 1) + rank)  # within each admission by rank
    rank = rank[order]
    key = owner * (width + 1) + rank
    upto = np.searchsorted(key, key, "right") - bounds[owner]  # positives at or above
    hits = np.stack([_count(owner, rank <= depth, len(scores)) for depth in DEPTHS])
    within = _count(owner, rank <= positives[owner], len(scores))
    precision = np.bincount(owner, upto / rank, minlength=len(scores))
    with np.errstate(invalid="ignore"):
        return Coding(positives, hits, within / positives, precision / positives)


def _count(
    owner: NDArray[np.int64], chosen: NDArray[np.bool_], admissions: int
) -> NDArray[np.int64]:
    return np.bincount(owner[chosen], minlength=admissions)


def _mean(values: NDArray[np.float64], rows: NDArray[np.bool_]) -> Estimate:
    """The mean over these rows; an admission's influence is its distance from it over n."""
    count = int(np.count_nonzero(rows))
    if not count:
        return Estimate(float("nan"), np.zeros(len(rows)))
    value = float(values[rows].mean())
    return Estimate(value, np.where(rows, values - value, 0.0) / count)
