"""AUROC of every label within every group of patients, and its influences, from one ranking.

A label is sorted once however many partitions of the admissions (by sex, by age, ...) ask for it:
within a group a case's placement needs only the group's counts between the cases' scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.auroc import Estimate
from tasks.evaluate.measures.placements import THREADS

BUCKETS = 1 << 16
BLOCK_CELLS = 1 << 20  # (admission, label) cells at once; a thread holds about 20 bytes a cell


@dataclass(frozen=True)
class GroupedAurocs:
    """One partition of the admissions, and the AUROC of every label within its groups."""

    group: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... the admission's group
    auroc: NDArray[np.float64]  # [groups, labels]; NaN: too few cases or controls
    influence: NDArray[np.float64]  # [groups, admissions]; in row h an admission of group g has
    # the sum of its influences on g's AUROCs of the labels that are defined in g and h

    def shared(self, first: int, second: int) -> NDArray[np.bool_]:
        """Which labels are defined in both groups; [labels]."""
        return ~np.isnan(self.auroc[first]) & ~np.isnan(self.auroc[second])

    def macro(self, group: int, shared_with: int | None = None) -> Estimate:
        """The group's mean over its labels, or over those that another group has, too."""
        other = group if shared_with is None else shared_with
        labels = self.shared(group, other)
        count = int(labels.sum())
        if not count:
            return Estimate(float("nan"), np.zeros(len(self.group)))
        own = np.where(self.group == group, self.influence[other], 0.0)
        return Estimate(float(self.auroc[group, labels].mean()), own / count)


def grouped_aurocs(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    partitions: Sequence[NDArray[np.int64]],
    fewest: int,
) -> list[GroupedAurocs]:
    """Rank the admissions of each group by their scores, label by label.

    Args:
        scores, cases, observed: [admissions, labels], as for `label_aurocs`.
        patients: [admissions], whose admission it is, as 0, 1, 2, ...
        partitions: each [admissions], the admission's group as 0, 1, 2, ...
        fewest: A label counts in a group where so many patients have it, and so many admissions
            do not.
    """
    labels = scores.shape[1]
    step = max(1, BLOCK_CELLS // max(1, len(scores)))
    blocks = [slice(start, start + step) for start in range(0, labels, step)]
    sizes = [int(group.max(initial=0)) + 1 for group in partitions]
    aurocs = [np.full((size, labels), np.nan) for size in sizes]

    def work(mine: list[slice]) -> list[NDArray[np.float64]]:
        sums = [np.zeros((size, len(scores))) for size in sizes]
        for block in mine:
            part = _Block(scores[:, block], cases[:, block], observed[:, block], patients)
            for group, auroc, influence in zip(partitions, aurocs, sums, strict=True):
                part.rank(group, auroc[:, block], influence, fewest)
        return sums

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(work, [blocks[thread::THREADS] for thread in range(THREADS)]))
    summed = [sum(each[1:], each[0]) for each in zip(*parts, strict=True)]
    return [GroupedAurocs(*each) for each in zip(partitions, aurocs, summed, strict=True)]


class _Block:
    """Some labels, each lying contiguous."""

    def __init__(
        self,
        scores: NDArray[np.float32],
        cases: NDArray[np.bool_],
        observed: NDArray[np.bool_],
        patients: NDArray[np.int64],
    ) -> None:
        self.patients = patients
        self.scores = np.ascontiguousarray(scores.T)
        self.observed = np.ascontiguousarray(observed.T)
        self.whole = np.asarray(self.observed.all(axis=1))
        cases = np.ascontiguousarray(cases.T) & self.observed
        self.cases = [np.flatnonzero(case) for case in cases]
        self.levels: list[NDArray[np.int64] | None] = [None] * len(cases)

    def rank(
        self,
        group: NDArray[np.int64],
        auroc: NDArray[np.float64],
        influence: NDArray[np.float64],
        fewest: int,
    ) -> None:
        """Fill in the block's AUROCs, [groups, labels], and add to [groups, admissions]."""
        have = self._case_patients(group, len(auroc))
        ranked = np.flatnonzero((have >= fewest).any(axis=1))
        added = np.empty((len(ranked), len(group)))
        for row, label in zip(added, ranked.tolist(), strict=True):
            self._rank_label(label, group, have[label], auroc[:, label], row, fewest)
        influence += (~np.isnan(auroc[:, ranked])).astype(np.float64) @ added

    def _rank_label(
        self,
        label: int,
        group: NDArray[np.int64],
        have: NDArray[np.int64],
        auroc: NDArray[np.float64],
        added: NDArray[np.float64],
        fewest: int,
    ) -> None:
        case, width = self.cases[label], len(have)
        if not self.whole[label]:  # the unobserved are a group of their own, of no cases
            group = np.where(self.observed[label], group, width - 1)
        place = self._level(label) * width + group  # in tables of [levels, groups]
        levels = (2 * len(case) + 1) * width
        of_all = np.bincount(place, minlength=levels).reshape(-1, width)
        of_cases = np.bincount(place[case], minlength=levels).reshape(-1, width)
        of_controls = of_all - of_cases
        n_cases, n_controls = of_cases.sum(axis=0), of_controls.sum(axis=0)
        counts = (have >= fewest) & (n_controls >= fewest)
        # shares, ties half; by level, of the groups that count
        at, below = of_cases[:, counts], of_controls[:, counts]
        n_cases, n_controls, have = n_cases[counts], n_controls[counts], have[counts]
        below = (np.cumsum(below, axis=0) - 0.5 * below) / n_controls
        above = 1 - (np.cumsum(at, axis=0) - 0.5 * at) / n_cases
        value = (at * below).sum(axis=0) / n_cases
        # DeLong's denominator n - 1, of patients: few cases hide their own spread
        wider = np.sqrt(have / np.maximum(have - 1, 1)) / n_cases
        table = np.zeros((2, len(of_all), width))
        table[0][:, counts] = (above - value) / n_controls
        table[1][:, counts] = (below - value) * wider
        table[0].take(place, out=added, mode="clip")  # in bounds, and so unbuffered
        added[case] = table[1].take(place[case])
        auroc[counts[:-1]] = value

    def _level(self, label: int) -> NDArray[np.int64]:
        """Twice the number of distinct scores of cases below, plus 1 if equal to one; [admissions].

        Scores 1 2 2 3, of which the first 2 is the only case's: levels 0 1 1 2.
        """
        found = self.levels[label]
        if found is None:
            score = self.scores[label]
            found = self.levels[label] = _levels(score, np.unique(score[self.cases[label]]))
        return found

    def _case_patients(self, group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        """How many patients of each group have the label; [labels, groups + 1], the last 0."""
        labels, width = len(self.cases), groups + 1
        row = np.concatenate([np.empty(0, np.int64), *self.cases])
        label = np.repeat(np.arange(labels), [len(case) for case in self.cases])
        people = int(self.patients.max(initial=0)) + 1
        pairs = np.unique((label * width + group[row]) * people + self.patients[row])
        found = np.bincount(pairs // people, minlength=labels * width)
        return found.reshape(labels, width)


def _levels(scores: NDArray[np.float32], distinct: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of the rising `distinct` scores lie below each score plus how many not above it.

    Only scores that share one of BUCKETS equal bins with a distinct one are looked up.

    >>> _levels(np.float32([1, 2, 2, 3]), np.float32([2])).tolist()
    [0, 1, 1, 2]
    """
    low, high = float(scores.min()), float(scores.max())
    # in float64 neither overflows, and rounding keeps the order
    scale = (BUCKETS - 1) / (high - low) if high > low else 0.0
    bucket = ((scores - np.float64(low)) * scale).astype(np.int64)
    inside = np.bincount(((distinct - np.float64(low)) * scale).astype(np.int64), minlength=BUCKETS)
    level = 2 * np.cumsum(inside)
    level[inside > 0] = -1
    found = level[bucket]
    unsure = np.flatnonzero(found < 0)
    exact = scores[unsure]
    found[unsure] = np.searchsorted(distinct, exact) + np.searchsorted(distinct, exact, "right")
    return found
