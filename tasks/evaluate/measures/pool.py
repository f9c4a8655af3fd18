"""All observed (admission, label) cells pooled into one ranking, for micro averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures import ranks as ranks_module
from tasks.evaluate.measures.ranks import LOW, SHIFT, CaseRanks, sortable
from tasks.threads import in_parts


@dataclass(frozen=True)
class Pool:
    """The pooled ranks, and what each admission's cells add up to."""

    ranks: CaseRanks
    case_shares: NDArray[np.float64]  # [admissions] sum over its cases: share of controls below
    control_shares: NDArray[np.float64]  # [admissions] over its controls: share of cases above


def pooled(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    labels: NDArray[np.int64] | slice = slice(None),
) -> Pool:
    """Rank every observed cell against every other; ties count half.

    Goes through blocks of admissions; nothing as large as `scores` is held.

    Args:
        scores, cases, observed: [admissions, labels]; the scores finite.
        labels: which of them to pool.

    Returns:
        the pool; its shares are 0 where it has no case or no control.
    """
    blocks = _row_blocks(scores.shape)

    def cells(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.uint32], int]:
        """Whose each case of a block is, its score; and how many controls there are."""
        seen, case = observed[rows, labels], cases[rows, labels] & observed[rows, labels]
        own = sortable(scores[rows, labels][case])
        return np.nonzero(case)[0] + rows.start, own, int(np.count_nonzero(seen)) - len(own)

    found = in_parts(cells, blocks)
    owners = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in found)])
    owned = np.concatenate([np.zeros(0, np.uint32), *(part[1] for part in found)])
    distinct, place, counts = np.unique(owned, return_inverse=True, return_counts=True)
    all_cases, controls = len(owned), sum(part[2] for part in found)
    if not all_cases or not controls:
        zeros, nothing = np.zeros(len(counts)), np.zeros(len(scores))
        none = CaseRanks(counts.astype(np.float64), zeros, zeros, float(controls))
        return Pool(none, nothing, nothing)
    before = np.concatenate(([0], np.cumsum(counts)))
    # a control falls between two distinct scores of cases or on one: gap 0, tie 0, gap 1, ...
    share_above = np.empty(2 * len(distinct) + 1)
    share_above[0::2] = 1.0 - before / all_cases
    share_above[1::2] = 1.0 - (before[:-1] + 0.5 * counts) / all_cases

    def work(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        control = observed[rows, labels] & ~cases[rows, labels]
        return _control_sums(distinct, share_above, scores[rows, labels], control)

    placed = in_parts(work, blocks)
    sizes = np.sum([size for size, _ in placed], axis=0)
    tied = sizes[1::2].astype(np.float64)
    below = np.cumsum(sizes)[1::2] - tied
    pool = CaseRanks(counts.astype(np.float64), tied, below, float(controls))
    case_shares = np.bincount(owners, pool.shares[place], minlength=len(scores))
    return Pool(
        pool, case_shares.astype(np.float64), np.concatenate([share for _, share in placed])
    )


def _control_sums(
    distinct: NDArray[np.uint32],
    share_above: NDArray[np.float64],
    scores: NDArray[np.float32],
    control: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count a block's controls in each gap and tie, and sum each admission's shares above."""
    keys = sortable(scores).astype(np.uint64)
    keys <<= SHIFT
    keys |= np.arange(len(scores), dtype=np.uint64)[:, None]
    keys = keys[control]
    keys.sort()
    edges = np.empty(len(share_above) + 1, np.int64)
    edges[0], edges[-1] = 0, len(keys)
    bounds = distinct.astype(np.uint64) << SHIFT
    edges[1:-1:2] = np.searchsorted(keys, bounds)
    edges[2:-1:2] = np.searchsorted(keys, bounds | LOW, "right")
    sizes = np.diff(edges)
    owners = (keys & LOW).astype(np.int64)
    sums = np.bincount(owners, np.repeat(share_above, sizes), minlength=len(scores))
    return sizes, sums.astype(np.float64)


def _row_blocks(shape: tuple[int, ...]) -> list[slice]:
    step = max(1, ranks_module.BLOCK_CELLS // max(1, shape[1]))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]
