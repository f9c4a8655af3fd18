"""The micro AUROC, over all (admission, label) cells at once, with its influence function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.pool import pooled
from tasks.measures.ranks import CaseRanks
from tasks.measures.sample import Sample


def micro(sample: Sample) -> Estimate:
    """The AUROC of all observed (admission, label) cells pooled into one ranking.

    Undefined (NaN) where no cell is a case, or none a control.

    >>> micro(Sample.of([[0.9, 0.2], [0.3, 0.1]], [[1, 0], [0, 1]])).value  # 2 of 4 pairs
    0.5
    """
    return micro_with_ranks(sample)[0]


def micro_with_ranks(
    sample: Sample, labels: NDArray[np.int64] | slice = slice(None)
) -> tuple[Estimate, CaseRanks]:
    """The micro AUROC of these labels, and the ranks from which other pooled measures follow.

    >>> sample = Sample.of([[0.9, 0.2], [0.3, 0.1]], [[1, 0], [0, 1]])
    >>> micro_with_ranks(sample)[1].average_precision  # (1 / 1 + 2 / 4) / 2
    0.75
    """
    pool = pooled(sample, labels)
    ranks = pool.ranks
    if not ranks.defined:
        return Estimate(float("nan"), np.zeros(sample.admissions)), ranks
    influence = (pool.case_shares - ranks.auroc * pool.cases) / ranks.all_cases
    influence += (pool.control_shares - ranks.auroc * pool.controls) / ranks.controls
    influence = influence if sample.weights is None else influence * sample.weights
    cells = pool.cases, pool.controls
    sizes = [int(np.count_nonzero(np.bincount(sample.patients, count))) for count in cells]
    return Estimate.of_aurocs(ranks.auroc, influence, sizes[0], sizes[1], min(sizes)), ranks
