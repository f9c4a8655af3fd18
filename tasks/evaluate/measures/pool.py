"""All observed (admission, label) cells pooled into one ranking, for micro averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures import ranks as ranks_module
from tasks.evaluate.measures.ranks import LOW, SHIFT, CaseRanks, sortable
from tasks.threads import in_parts

MOST_BLOCKS = 64


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
    weights: NDArray[np.float64] | None = None,
) -> Pool:
    """Rank every observed cell against every other; ties count half.

    Goes through blocks of admissions; nothing as large as `scores` is held.

    Args:
        scores, cases, observed: [admissions, labels]; the scores finite.
        labels: which of them to pool.
        weights: [admissions], how much each of its cells counts; None: each counts 1.

    Returns:
        the pool; its shares are 0 where it has no case or no control.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    blocks = _row_blocks(scores.shape)

    def cells(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Whose each case of a block is, and its score."""
        case = cases[rows, labels] & observed[rows, labels]
        return np.nonzero(case)[0] + rows.start, sortable(scores[rows, labels][case])

    found = in_parts(cells, blocks)
    owners = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in found)])
    owned = np.concatenate([np.zeros(0, np.uint32), *(part[1] for part in found)])
    distinct, place = np.unique(owned, return_inverse=True)
    counts = np.bincount(place, weights[owners], minlength=len(distinct)).astype(np.float64)
    all_cases = float(counts.sum())
    before = np.concatenate(([0.0], np.cumsum(counts)))
    # a control falls between two distinct scores of cases or on one: gap 0, tie 0, gap 1, ...
    share_above = np.empty(2 * len(distinct) + 1)
    share_above[0::2] = 1.0 - before / (all_cases or 1.0)
    share_above[1::2] = 1.0 - (before[:-1] + 0.5 * counts) / (all_cases or 1.0)

    def work(rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        control = observed[rows, labels] & ~cases[rows, labels]
        return _control_sums(distinct, share_above, scores[rows, labels], control, weights[rows])

    placed = in_parts(work, blocks)
    sizes = np.sum([np.zeros(len(share_above)), *(size for size, _ in placed)], axis=0)
    tied, controls = sizes[1::2], float(sizes.sum())
    ranks = CaseRanks(counts, tied, np.cumsum(sizes)[1::2] - tied, controls)
    if not ranks.defined:
        return Pool(ranks, np.zeros(len(scores)), np.zeros(len(scores)))
    case_shares = np.bincount(owners, ranks.shares[place], minlength=len(scores))
    control_shares = np.concatenate([share for _, share in placed])
    return Pool(ranks, case_shares.astype(np.float64), control_shares)


def _control_sums(
    distinct: NDArray[np.uint32],
    share_above: NDArray[np.float64],
    scores: NDArray[np.float32],
    control: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weigh a block's controls in each gap and tie, and sum each admission's shares above."""
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
    keys &= LOW
    owners = keys.view(np.int64)
    counts = np.diff(edges)
    sums = np.bincount(owners, np.repeat(share_above, counts), minlength=len(scores))
    if (weights == 1).all():
        return counts.astype(np.float64), sums.astype(np.float64)
    heavy = np.concatenate(([0.0], np.cumsum(weights[owners])))
    return np.diff(heavy[edges]), sums.astype(np.float64)


def _row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Blocks of BLOCK_CELLS, and larger ones of a large table.

    Each block is held against all distinct scores of cases, so there must not be too many.
    """
    most = max(ranks_module.BLOCK_CELLS, shape[0] * shape[1] // MOST_BLOCKS)
    step = max(1, most // max(1, shape[1]))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]
