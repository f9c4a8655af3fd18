"""The exact AUROC of many labels at once, for choosing an epoch or a regularization strength."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.threads import in_parts

BLOCK_CELLS = 1 << 19  # sorted at once by a thread


def auroc_by_label(
    scores: NDArray[np.floating], positives: NDArray[np.bool_], observed: NDArray[np.bool_]
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
    step = max(1, BLOCK_CELLS // max(1, len(scores)))
    blocks = [slice(start, start + step) for start in range(0, scores.shape[1], step)]
    parts = in_parts(
        lambda block: _block_aurocs(scores[:, block], positives[:, block], observed[:, block]),
        blocks,
    )
    return np.concatenate(parts) if parts else np.zeros(0)


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
    for label in range(exact.shape[1]):
        others = np.delete(exact, label, axis=1)
        scores[:, label] = exact[:, label] - np.logaddexp.reduce(others, axis=1)
    return scores


def macro_auroc(
    scores: NDArray[np.floating], positives: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> float:
    """Return the mean of `auroc_by_label` over the defined labels; NaN where none is defined.

    >>> scores = np.array([[0.1, 1], [0.4, 2], [0.4, 3], [0.9, 4]])
    >>> positives = np.array([[False, False], [True, False], [False, True], [True, True]])
    >>> macro_auroc(scores, positives, np.ones_like(positives))  # of 0.875 and 1
    0.9375
    """
    by_label = auroc_by_label(scores, positives, observed)
    defined = by_label[~np.isnan(by_label)]
    return float(defined.mean()) if len(defined) else float("nan")


def _block_aurocs(
    scores: NDArray[np.floating], positives: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sort the controls of every label, and look where its cases fall among them; [labels]."""
    auroc = np.full(scores.shape[1], np.nan)
    column = scores.T.copy()
    known = np.ascontiguousarray(observed.T)
    is_case = np.ascontiguousarray(positives.T) & known
    n_cases = np.count_nonzero(is_case, axis=1)
    n_controls = np.count_nonzero(known, axis=1) - n_cases
    cases_of = np.split(column[np.nonzero(is_case)], np.cumsum(n_cases)[:-1])
    column[is_case | ~known] = np.inf  # sorted behind every control
    column.sort(axis=1)
    for label, (ranked, cases) in enumerate(zip(column, cases_of, strict=True)):
        if len(cases) and n_controls[label]:
            controls, cases = ranked[: n_controls[label]], np.sort(cases)
            twice = np.searchsorted(controls, cases) + np.searchsorted(controls, cases, "right")
            auroc[label] = twice.sum() / 2 / len(cases) / len(controls)
    return auroc
