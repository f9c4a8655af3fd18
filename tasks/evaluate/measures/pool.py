"""All observed (admission, label) cells pooled into one ranking, for micro averages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.ranks import CaseRanks, ascending, sortable
from tasks.threads import in_parts

BLOCK_CELLS = 1 << 18  # ranked at once: a thread holds about 40 bytes a cell
MOST_BLOCKS = 64
PARTS = 4


@dataclass(frozen=True)
class Pool:
    """The pooled ranks, and what each admission's cells add up to."""

    ranks: CaseRanks
    case_shares: NDArray[np.float64]  # [admissions] sum over its cases: share of controls below
    control_shares: NDArray[np.float64]  # [admissions] over its controls: share of cases above
    cases: NDArray[np.int64]  # [admissions] how many each has
    controls: NDArray[np.int64]  # [admissions]


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

    control_shares = np.zeros(len(scores))
    n_controls = np.zeros(len(scores), np.int64)

    def work(mine: list[slice]) -> NDArray[np.float64]:
        """Weigh the controls of some blocks in each gap and tie, and sum their shares above."""
        sizes = np.zeros(len(share_above))
        for rows in mine:
            control = observed[rows, labels] & ~cases[rows, labels]
            held = _Held.of(scores[rows, labels], control, distinct)
            sizes += held.sizes(weights[rows])
            control_shares[rows] = held.sums(share_above, len(control))
            n_controls[rows] = np.bincount(held.owners, minlength=len(control))
        return sizes

    sizes = np.sum(in_parts(work, _parts_of(blocks)), axis=0)
    tied, controls = sizes[1::2], float(sizes.sum())
    ranks = CaseRanks(counts, tied, np.cumsum(sizes)[1::2] - tied, controls)
    case_shares = np.zeros(len(scores))
    if ranks.defined:
        case_shares += np.bincount(owners, ranks.shares[place], minlength=len(scores))
    n_cases = np.bincount(owners, minlength=len(scores))
    return Pool(ranks, case_shares, control_shares, n_cases, n_controls)


@dataclass(frozen=True)
class _Held:
    """A block's controls held against the distinct scores of all cases."""

    owners: NDArray[np.int32]  # [controls] the admission of each, from the lowest score up
    edges: NDArray[np.int64]  # where each gap and tie begins among them

    @classmethod
    def of(
        cls, scores: NDArray[np.float32], control: NDArray[np.bool_], distinct: NDArray[np.uint32]
    ) -> _Held:
        keys = sortable(scores[control])
        order = ascending(keys)
        keys = keys[order]
        counts = control.sum(axis=1)
        owners = np.repeat(np.arange(len(control), dtype=np.int32), counts)[order]
        edges = np.empty(2 * len(distinct) + 2, np.int64)
        edges[0], edges[-1] = 0, len(keys)
        edges[1:-1:2] = np.searchsorted(keys, distinct)
        edges[2:-1:2] = np.searchsorted(keys, distinct, "right")
        return cls(owners, edges)

    def sizes(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weight of the controls in each gap and tie."""
        if (weights == 1).all():
            return np.diff(self.edges).astype(np.float64)
        before = np.concatenate(([0.0], np.cumsum(weights[self.owners])))
        return np.diff(before[self.edges])

    def sums(self, share_above: NDArray[np.float64], admissions: int) -> NDArray[np.float64]:
        """Each admission's shares of cases above, summed over its controls; [admissions]."""
        shares = np.repeat(share_above, np.diff(self.edges))
        return np.bincount(self.owners, shares, minlength=admissions).astype(np.float64)


def _parts_of(blocks: list[slice]) -> list[list[slice]]:
    """The blocks in PARTS runs: sums over them are made in the same order on any machine."""
    ends = [len(blocks) * part // PARTS for part in range(PARTS + 1)]
    return [blocks[start:end] for start, end in pairwise(ends)]


def _row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Blocks of BLOCK_CELLS, and larger ones of a large table.

    Each block is held against all distinct scores of cases, so there must not be too many.
    """
    most = max(BLOCK_CELLS, shape[0] * shape[1] // MOST_BLOCKS)
    step = max(1, most // max(1, shape[1]))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]
