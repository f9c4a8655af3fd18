"""All observed (admission, label) cells pooled into one ranking, for micro averages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.gaps import Gaps
from tasks.measures.ranks import CaseRanks
from tasks.measures.sample import Sample, row_blocks
from tasks.threads import in_parts

BLOCK_CELLS = 1 << 18  # ranked at once: a thread holds about 40 bytes a cell
MOST_BLOCKS = 512
PARTS = 4


@dataclass(frozen=True)
class Pool:
    """The pooled ranks, and what each admission's cells add up to."""

    ranks: CaseRanks
    case_shares: NDArray[np.float64]  # [admissions] sum over its cases: share of controls below
    control_shares: NDArray[np.float64]  # [admissions] over its controls: share of cases above
    cases: NDArray[np.int64]  # [admissions] how many each has
    controls: NDArray[np.int64]  # [admissions]


def pooled(sample: Sample, labels: NDArray[np.int64] | slice = slice(None)) -> Pool:
    """Rank every observed cell against every other; ties count half.

    Goes through blocks of admissions; nothing as large as `scores` is held.

    Args:
        labels: which of them to pool.

    Returns:
        the pool; its shares are 0 where it has no case or no control.

    >>> pool = pooled(Sample.of([[0.9, 0.2], [0.3, 0.1]], [[1, 0], [0, 1]]))
    >>> pool.case_shares.tolist(), pool.control_shares.tolist()  # 0.9 is above both, 0.1 below
    ([1.0, 0.0], [0.5, 0.5])
    """
    scores, cases, observed = sample.scores, sample.cases, sample.observed
    weights = np.ones(len(scores)) if sample.weights is None else sample.weights
    # larger ones of a large table: each counts at all distinct scores of cases
    blocks = row_blocks(scores.shape, max(BLOCK_CELLS, scores.size // MOST_BLOCKS))

    def cells(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Whose each case of a block is, and its score."""
        case = cases[rows, labels] & observed[rows, labels]
        return np.nonzero(case)[0] + rows.start, scores[rows, labels][case]

    parts = in_parts(cells, blocks)
    owners = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
    case_scores = np.concatenate([np.zeros(0, np.float32), *(part[1] for part in parts)])
    distinct, index = np.unique(case_scores, return_inverse=True)
    counts = np.bincount(index, weights[owners], minlength=len(distinct)).astype(np.float64)
    all_cases = float(counts.sum())
    before = np.concatenate(([0.0], np.cumsum(counts)))
    # a control falls between two distinct scores of cases or on one: gap 0, tie 0, gap 1, ...
    share_above = np.zeros(2 * len(distinct) + 2)  # the last is of what is no control
    share_above[0:-1:2] = 1.0 - before / (all_cases or 1.0)
    share_above[1:-1:2] = 1.0 - (before[:-1] + 0.5 * counts) / (all_cases or 1.0)

    gaps = Gaps.among(distinct)
    control_shares = np.zeros(len(scores))
    n_controls = np.zeros(len(scores), np.int64)

    def work(part: list[slice]) -> NDArray[np.float64]:
        """Weigh the controls of some blocks in each gap and tie, and sum their shares above."""
        sizes = np.zeros(len(share_above))
        for rows in part:
            control = observed[rows, labels] & ~cases[rows, labels]
            levels = gaps.levels(scores[rows, labels].ravel())
            np.copyto(levels, len(share_above) - 1, where=~control.ravel())
            sizes += _sizes(levels, weights[rows], len(share_above))
            shares = share_above.take(levels).reshape(control.shape)
            control_shares[rows] = shares.sum(axis=1)
            n_controls[rows] = np.count_nonzero(control, axis=1)
        return sizes

    sizes = np.sum(in_parts(work, _parts_of(blocks)), axis=0)[:-1]
    tied, controls = sizes[1::2], float(sizes.sum())
    ranks = CaseRanks(counts, tied, np.cumsum(sizes)[1::2] - tied, controls)
    case_shares = np.zeros(len(scores))
    if ranks.defined:
        case_shares += np.bincount(owners, ranks.shares[index], minlength=len(scores))
    n_cases = np.bincount(owners, minlength=len(scores))
    return Pool(ranks, case_shares, control_shares, n_cases, n_controls)


def micro(sample: Sample) -> Estimate:
    """The AUROC of all observed (admission, label) cells pooled into one ranking.

    Undefined (NaN) where no cell is a case, or none a control.

    >>> micro(Sample.of([[0.9, 0.2], [0.3, 0.1]], [[1, 0], [0, 1]])).value  # 2 of 4 pairs
    0.5
    """
    return micro_with_ranks(sample)[0]


def micro_with_ranks(
    sample: Sample, labels: NDArray[np.int64] | slice = slice(None)
) -> tuple[Estimate, CaseRanks]:
    """The micro AUROC of these labels, and the ranks from which other pooled measures follow.

    >>> sample = Sample.of([[0.9, 0.2], [0.3, 0.1]], [[1, 0], [0, 1]])
    >>> micro_with_ranks(sample)[1].average_precision  # (1 / 1 + 2 / 4) / 2
    0.75
    """
    pool = pooled(sample, labels)
    ranks = pool.ranks
    if not ranks.defined:
        return Estimate(float("nan"), np.zeros(sample.admissions)), ranks
    influence = (pool.case_shares - ranks.auroc * pool.cases) / ranks.all_cases
    influence += (pool.control_shares - ranks.auroc * pool.controls) / ranks.controls
    influence = influence if sample.weights is None else influence * sample.weights
    cells = pool.cases, pool.controls
    sizes = [int(np.count_nonzero(np.bincount(sample.patients, count))) for count in cells]
    return Estimate.of_aurocs(ranks.auroc, influence, sizes[0], sizes[1], min(sizes)), ranks


def _sizes(
    levels: NDArray[np.int64], weights: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """The weight of the cells at each of so many levels."""
    if (weights == 1).all():
        return np.bincount(levels, minlength=count).astype(np.float64)
    cell_weights = np.repeat(weights, len(levels) // max(1, len(weights)))
    return np.bincount(levels, cell_weights, minlength=count).astype(np.float64)


def _parts_of(blocks: list[slice]) -> list[list[slice]]:
    """The blocks in PARTS runs: sums over them are made in the same order on any machine."""
    ends = [len(blocks) * part // PARTS for part in range(PARTS + 1)]
    return [blocks[start:end] for start, end in pairwise(ends)]
