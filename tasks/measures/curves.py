"""ROC and precision-recall curves at fixed places, so that they can be averaged over labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.ranks import CaseRanks

# finer near zero, where a clinician works: 0, 0.0001, 0.0004, ..., 1
FALSE_POSITIVE_RATES = np.linspace(0, 1, 101) ** 2
RECALLS = np.linspace(0.01, 1, 100)


def roc_corners(ranks: CaseRanks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of the exact ROC curve: false, then true positive rates, each from 0 to 1.

    It rises at each distinct score of a case, aslant where controls are tied with it.

    >>> ranks = CaseRanks(np.ones(2), tied=np.array([1, 0]), below=np.array([1, 2]), controls=2)
    >>> false, true = roc_corners(ranks)  # of cases 0.4 and 0.9, controls 0.1 and 0.4
    >>> list(zip(false.tolist(), true.tolist(), strict=True))[-4:]
    [(0.0, 0.5), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]
    """
    called = np.cumsum(ranks.cases[::-1]) / ranks.all_cases
    above = (ranks.controls - ranks.below - ranks.tied)[::-1] / ranks.controls
    upto = (ranks.controls - ranks.below)[::-1] / ranks.controls
    false = np.stack([above, upto], axis=1).ravel()
    true = np.stack([np.concatenate(([0.0], called[:-1])), called], axis=1).ravel()
    return np.concatenate(([0.0], false, [1.0])), np.concatenate(([0.0], true, [1.0]))


def true_positive_rates(ranks: CaseRanks) -> NDArray[np.float64]:
    """The true positive rate at FALSE_POSITIVE_RATES.

    >>> ranks = CaseRanks(np.ones(2), tied=np.array([1, 0]), below=np.array([1, 2]), controls=2)
    >>> true_positive_rates(ranks)[[50]]  # at 0.25, halfway up from 0.5
    array([0.75])
    """
    return np.interp(FALSE_POSITIVE_RATES, *roc_corners(ranks))


def precisions_at_recalls(ranks: CaseRanks) -> NDArray[np.float64]:
    """The precision where RECALLS is just reached; its mean is about the average precision.

    >>> ranks = CaseRanks(np.ones(2), tied=np.array([1, 0]), below=np.array([1, 2]), controls=2)
    >>> precisions_at_recalls(ranks)[[49, 99]].round(4)  # at recalls of 0.5 and 1: 1 / 1, 2 / 3
    array([1.    , 0.6667])
    """
    called = np.cumsum(ranks.cases[::-1])
    index = np.searchsorted(called, RECALLS * ranks.all_cases * (1 - 1e-12))
    return ranks.precisions[::-1][np.minimum(index, len(called) - 1)]
