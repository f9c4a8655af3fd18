"""The micro AUROC, over all (admission, label) cells at once, with its influence function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.pool import pooled
from tasks.measures.ranks import CaseRanks


def micro(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> Estimate:
    """The AUROC of all observed (admission, label) cells pooled into one ranking.

    Args: as for `label_aurocs`. Undefined (NaN) where no cell is a case, or none a control.
    """
    return micro_with_ranks(scores, cases, observed, patients, weights=weights)[0]


def micro_with_ranks(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    labels: NDArray[np.int64] | slice = slice(None),
    weights: NDArray[np.float64] | None = None,
) -> tuple[Estimate, CaseRanks]:
    """The micro AUROC of these labels, and the ranks from which other pooled measures follow."""
    pool = pooled(scores, cases, observed, labels, weights)
    ranks = pool.ranks
    if not ranks.defined:
        return Estimate(float("nan"), np.zeros(len(scores))), ranks
    influence = (pool.case_shares - ranks.auroc * pool.cases) / ranks.all_cases
    influence += (pool.control_shares - ranks.auroc * pool.controls) / ranks.controls
    influence = influence if weights is None else influence * weights
    cases_of, controls_of = (
        int(np.count_nonzero(np.bincount(patients, cells))) for cells in (pool.cases, pool.controls)
    )
    rarer = min(cases_of, controls_of)
    return Estimate.of_aurocs(ranks.auroc, influence, cases_of, controls_of, rarer), ranks
