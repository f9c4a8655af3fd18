"""Placements: for every case, the share of controls ranked below it, and the reverse.

They carry the AUROC (their mean) and its influence function (their spread); DeLong et al.,
Biometrics 44:837-845, 1988.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 1 << 20  # ranked at once; a thread holds about 40 bytes a cell
THREADS = 2  # numpy sorts outside the interpreter's lock


@dataclass(frozen=True)
class Pool:
    """All cases and controls of a pool; a cell is one (admission, label)."""

    distinct: NDArray[np.float32]  # the cases' distinct scores, rising
    controls_below: NDArray[np.float64]  # each of them; ties count half
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

    Goes through blocks of admissions; nothing as large as `scores` is held.

    Args:
        scores, cases, observed: [admissions, labels].

    Returns:
        the pool; [admissions] the sum over an admission's cases of the share of controls below;
        [admissions] the sum over its controls of the share of cases above. Sums are 0 where the
        pool has no case or no control.
    """
    distinct, counts = np.unique(scores[cases & observed], return_counts=True)
    n_cases = int(counts.sum())
    n_controls = int(np.count_nonzero(observed)) - n_cases
    above = np.zeros(len(scores))
    if not n_cases or not n_controls:
        return Pool(distinct, np.zeros(len(distinct)), n_cases, n_controls), above, above
    cases_under = np.concatenate(([0], np.cumsum(counts)))
    # a control falls between two distinct scores of cases or on one: gap 0, tie 0, gap 1, ...
    cases_below = np.empty(2 * len(distinct) + 1)
    cases_below[0::2], cases_below[1::2] = cases_under, cases_under[:-1] + 0.5 * counts
    share_above = 1.0 - cases_below / n_cases

    def work(rows: slice) -> NDArray[np.int64]:
        control = observed[rows] & ~cases[rows]
        sizes, above[rows] = _control_sums(distinct, share_above, scores[rows], control)
        return sizes

    sizes = np.zeros(len(cases_below), np.int64)
    with ThreadPoolExecutor(THREADS) as threads:
        for found in threads.map(work, _row_blocks(scores.shape)):
            sizes += found
    controls_below = (np.cumsum(sizes) - 0.5 * sizes)[1::2]
    pool = Pool(distinct, controls_below, n_cases, n_controls)
    return pool, _case_sums(pool, scores, cases & observed), above


def _control_sums(
    distinct: NDArray[np.float32],
    share_above: NDArray[np.float64],
    scores: NDArray[np.float32],
    control: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count a block's controls in each gap and tie, and sum each admission's shares above."""
    owner = np.nonzero(control)[0]
    score = scores[control]
    order = np.argsort(score)
    ranked = score[order]
    edges = np.empty(len(share_above) + 1, np.int64)
    edges[0], edges[-1] = 0, len(ranked)
    edges[1:-1:2] = np.searchsorted(ranked, distinct, "left")
    edges[2:-1:2] = np.searchsorted(ranked, distinct, "right")
    sizes = np.diff(edges)
    shares = np.repeat(share_above, sizes)
    sums = np.bincount(owner[order], shares, minlength=len(control))
    return sizes, sums.astype(np.float64)


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


def _row_blocks(shape: tuple[int, ...]) -> list[slice]:
    step = max(1, BLOCK_CELLS // max(1, shape[1]))
    return [slice(start, start + step) for start in range(0, shape[0], step)]
