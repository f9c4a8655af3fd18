"""What each admission adds to the error of one label's AUROC: DeLong's components.

A case's is the share of controls below it, a control's the share of cases above it, each less the
AUROC and over the number of its kind (DeLong et al., Biometrics 44:837-845, 1988).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.clusters import Sides
from tasks.measures.ranks import CaseRanks, Ranked


def influences(
    ranked: Ranked, ranks: CaseRanks, sides: Sides, weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Each observed admission's influence on its label's AUROC, in the order of scores.

    Args:
        sides: the patients who have the label, and those who lack it.

    >>> from tasks.measures.clusters import Clusters
    >>> from tasks.measures.ranks import Sample, ranked_labels
    >>> [ranked] = ranked_labels(Sample.of([[1], [2], [3], [4]], [[0], [1], [0], [1]]))
    >>> sides = Clusters(np.arange(4)).sides(np.array([1, 3]), None)
    >>> influences(ranked, ranked.ranks(), sides, None).round(4)  # (1 - 0.75) / 2 * sqrt(2)
    array([ 0.1768, -0.1768, -0.1768,  0.1768])
    """
    first, last = ranked.ends
    above = 1.0 - np.concatenate(([0.0], np.cumsum(ranks.cases))) / ranks.all_cases
    # runs by turns: controls below the first case's score, all with that score, controls below
    # the next one, ...; a control tied with cases has half of them above
    levels, sizes = np.empty(2 * len(first) + 1), np.empty(2 * len(first) + 1, np.int64)
    levels[0::2], levels[1::2] = above, above[1:] + 0.5 * ranks.cases / ranks.all_cases
    sizes[0::2] = np.concatenate((first, [len(ranked.order)])) - np.concatenate(([0], last))
    sizes[1::2] = last - first
    of_cases, of_controls = hidden_spread(sides.effective())[:, 0].tolist()
    influence = np.repeat((levels - ranks.auroc) * of_controls / ranks.controls, sizes)
    cases = np.diff(np.searchsorted(ranked.positions, last), prepend=0)  # of each score
    shares = np.repeat(ranks.shares, cases)
    influence[ranked.positions] = (shares - ranks.auroc) * of_cases / ranks.all_cases
    return influence if weights is None else influence * weights[ranked.order]


def hidden_spread(patients: NDArray[np.float64]) -> NDArray[np.float64]:
    """What influences of so few are to be multiplied by: DeLong's denominator is n - 1.

    Args:
        patients: the effective number, where some have more admissions than others.

    >>> hidden_spread(np.array([1.0, 2.0, 5.0])).round(4)  # 1, sqrt(2), sqrt(5 / 4)
    array([1.    , 1.4142, 1.118 ])
    """
    several = patients > 1 + 1e-9
    return np.sqrt(np.where(several, patients, 1.0) / np.where(several, patients - 1, 1.0))


def lone_cells(
    ranked: Ranked, sides: Sides, weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The cells of the one patient who has the label, or who lacks it; [3, cells].

    Of each its label, its admission, and what share of the patient's admissions (or their weight)
    it is.
    """
    rows = ranked.order[ranked.case if sides.cases[0] <= sides.controls[0] else ~ranked.case]
    share = np.ones(len(rows)) if weights is None else weights[rows]
    return np.stack([np.full(len(rows), ranked.label), rows, share / share.sum()])


def standard_error(by_patient: NDArray[np.float64], patients: int) -> float:
    """Of an estimate whose influences add up to these within patients, of whom so many count.

    >>> round(standard_error(np.array([0.03, -0.01, -0.02]), 3), 4)  # sqrt(3 / 2 * 0.0014)
    0.0458
    """
    return float(np.sqrt(patients / (patients - 1) * (by_patient @ by_patient)))
