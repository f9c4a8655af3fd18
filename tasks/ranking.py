"""The exact AUROC of many labels at once, for choosing an epoch or a regularization strength."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auroc_by_label(
    scores: NDArray[np.floating],
    positives: NDArray[np.bool_],
    observed: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return each label's AUROC over its observed admissions; a tie counts one half.

    AUROC is P(score of a positive > score of a negative), the Mann-Whitney statistic over the
    number of pairs (Hanley & McNeil 1982).

    Args:
        scores: [admissions, labels], finite; only their order within a label counts.
        positives: [admissions, labels], whether the admission has the label.
        observed: [admissions, labels], whether that is known.

    Returns:
        [labels], NaN where no observed admission, or every one, is positive.

    >>> scores = np.array([[0.1], [0.4], [0.4], [0.9]], np.float32)
    >>> positives = np.array([[False], [True], [False], [True]])
    >>> auroc_by_label(scores, positives, np.ones_like(positives))
    array([0.875])
    """
    auroc = np.full(scores.shape[1], np.nan)
    # columns are sorted one by one: a label's own column is contiguous only in a transposed copy
    rows = zip(scores.T.copy(), positives.T.copy(), observed.T.copy(), strict=True)
    for label, (score, positive, seen) in enumerate(rows):
        cases, controls = score[seen & positive], np.sort(score[seen & ~positive])
        if len(cases) and len(controls):
            below = np.searchsorted(controls, cases, "left")
            not_above = np.searchsorted(controls, cases, "right")
            auroc[label] = (below + not_above).mean() / 2 / len(controls)
    return auroc


def class_scores(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of each class, p being the softmax over the row's classes.

    Logits of classes are known up to a constant a row only; these scores are not changed by one.

    Args:
        logits: [admissions, classes].

    >>> class_scores(np.array([[0.0, np.log(3.0)], [7.0, 7.0]])).round(3).tolist()
    [[-1.099, 1.099], [0.0, 0.0]]
    """
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)  # so that a constant added changes no bit of them
    scores = np.empty_like(exact)
    for each in range(exact.shape[1]):
        others = np.delete(exact, each, axis=1)
        scores[:, each] = exact[:, each] - np.logaddexp.reduce(others, axis=1)
    return scores


def macro_auroc(
    scores: NDArray[np.floating],
    positives: NDArray[np.bool_],
    observed: NDArray[np.bool_],
) -> float:
    """Return the mean of `auroc_by_label` over the defined labels; NaN where none is defined."""
    by_label = auroc_by_label(scores, positives, observed)
    defined = by_label[~np.isnan(by_label)]
    return float(defined.mean()) if len(defined) else float("nan")
