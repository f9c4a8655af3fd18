"""Placements: for every case, the share of controls ranked below it, and the reverse.

They carry the AUROC (their mean) and its influence function (their spread); DeLong et al.,
Biometrics 44:837-845, 1988.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 1 << 22  # 16 MiB of float32: the pooled pass never holds more than this at once


@dataclass(frozen=True)
class Pool:
    """Scores of all cases and all controls of a pool, counted at the cases' distinct scores.

    A cell is one (admission, label). With u the cases' distinct scores in rising order:
    `cases_below[j]` counts cases with a score under u[j], and so on; length len(u) + 1.
    """

    distinct: NDArray[np.float32]  # [distinct scores of cases]
    cases_below: NDArray[np.int64]  # [distinct + 1]
    controls_below: NDArray[np.float64]  # [distinct], ties count half
    cases: int
    controls: int


def placements(scores: NDArray[np.float32], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each admission's placement within one label.

    Args:
        scores: [admissions], finite.
        cases: [admissions], with at least one True and one False.

    Returns:
        [admissions]: for a case the share of controls below it, for a control the share of cases
        above it; ties count half. The mean over cases equals the mean over controls: the AUROC.

    >>> placements(np.float32([1, 2, 2, 3]), np.array([False, True, False, True])).tolist()
    [1.0, 0.75, 0.75, 1.0]
    """
    order = np.argsort(scores)
    ranked = scores[order]
    case = cases[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    sizes = np.diff(starts, append=len(ranked))
    cases_before = np.concatenate(([0], np.cumsum(case)))  # [admissions + 1]
    cases_in = cases_before[starts + sizes] - cases_before[starts]
    cases_mid = cases_before[starts] + 0.5 * cases_in  # below, ties half; [tie groups]
    controls_mid = starts + 0.5 * sizes - cases_mid
    n_cases = int(cases_before[-1])
    share_of_controls = np.repeat(controls_mid / (len(ranked) - n_cases), sizes)
    share_of_cases = np.repeat(1.0 - cases_mid / n_cases, sizes)
    result = np.empty(len(ranked))
    result[order] = np.where(case, share_of_controls, share_of_cases)
    return result


def pooled_placement_sums(
    scores: NDArray[np.float32], cases: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> tuple[Pool, NDArray[np.float64], NDArray[np.float64]]:
    """Rank every observed cell against every other, and sum placements over an admission's cells.

    Two passes over blocks of admissions; nothing as large as `scores` is held.

    Args:
        scores, cases, observed: [admissions, labels].

    Returns:
        the pool; [admissions] the sum over an admission's cases of the share of controls below;
        [admissions] the sum over its controls of the share of cases above. Sums are 0 where the
        pool has no case or no control.
    """
    pool_scores = np.sort(scores[cases & observed])
    distinct, counts = np.unique(pool_scores, return_counts=True)
    cases_below = np.concatenate(([0], np.cumsum(counts)))
    n_cases = len(pool_scores)
    n_controls = int(np.count_nonzero(observed)) - n_cases
    gaps = np.zeros(len(distinct) + 1, np.int64)  # controls strictly between distinct scores
    ties = np.zeros(len(distinct) + 1, np.int64)
    above = np.zeros(len(scores))
    if n_cases and n_controls:
        for rows in _row_blocks(scores.shape):
            control = observed[rows] & ~cases[rows]
            place, tied = _places(distinct, scores[rows][control])
            gaps += np.bincount(place[~tied], minlength=len(gaps))
            ties += np.bincount(place[tied], minlength=len(gaps))
            below = cases_below[place].astype(np.float64)
            below[tied] += 0.5 * counts[place[tied]]
            owner = np.repeat(np.arange(len(control)), control.sum(axis=1))
            above[rows] = np.bincount(owner, 1.0 - below / n_cases, minlength=len(control))
    passed = np.cumsum(gaps + ties) - ties  # gaps up to u[j], ties under it
    controls_below = (passed + 0.5 * ties)[: len(distinct)].astype(np.float64)
    pool = Pool(distinct, cases_below, controls_below, n_cases, n_controls)
    return pool, _case_sums(pool, scores, cases & observed), above


def _case_sums(
    pool: Pool, scores: NDArray[np.float32], cases: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sum each admission's shares of controls below its cases; [admissions]."""
    if not pool.controls:
        return np.zeros(len(scores))
    owner = np.nonzero(cases)[0]
    place = np.searchsorted(pool.distinct, scores[cases])
    shares = pool.controls_below[place] / pool.controls
    return np.bincount(owner, shares, minlength=len(scores)).astype(np.float64)


def _places(
    distinct: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each score falls among the distinct scores, and whether it equals one of them."""
    place = np.searchsorted(distinct, scores)
    tied = np.append(distinct, np.float32(np.nan))[place] == scores
    return place, tied


def _row_blocks(shape: tuple[int, ...]) -> list[slice]:
    step = max(1, BLOCK_CELLS // max(1, shape[1]))
    return [slice(start, start + step) for start in range(0, shape[0], step)]
