"""The macro-averaged ROC curve: the mean sensitivity over labels at each false positive rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# finer near zero, where a clinician works: 0, 0.0001, 0.0004, ..., 1
FALSE_POSITIVE_RATES = np.linspace(0, 1, 101) ** 2


def macro_roc(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the mean true positive rate at FALSE_POSITIVE_RATES; NaN where no label is defined.

    Each label's curve is exact (one corner for tied scores); labels with no case or no control
    are left out, as they are from the macro AUROC.

    Args:
        scores, cases, observed: [admissions, labels].
    """
    total, defined = np.zeros(len(FALSE_POSITIVE_RATES)), 0
    for label in range(scores.shape[1]):
        rows = observed[:, label]
        case = cases[rows, label]
        if case.any() and not case.all():
            false, true = roc(scores[rows, label], case)
            total += np.interp(FALSE_POSITIVE_RATES, false, true)
            defined += 1
    return total / defined if defined else np.full(len(total), np.nan)


def roc(
    scores: NDArray[np.float32], cases: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of one label's ROC curve: false, then true positive rates, each from 0 to 1."""
    order = np.argsort(-scores)
    ranked, case = scores[order], cases[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true = np.cumsum(case)[ends]
    false = ends + 1 - true
    return (
        np.concatenate(([0.0], false / false[-1])),
        np.concatenate(([0.0], true / true[-1])),
    )
