"""AUROC of every label within every group of patients, and its influences, from one ranking.

A label is sorted once however many partitions of the admissions (by sex, by age, ...) ask for it:
within a group a case's placement needs only the group's counts between the cases' scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.auroc import Estimate
from tasks.evaluate.measures.ranks import Ranked, ranked_labels

LONE_PRODUCTS = 1 << 17  # OpenBLAS multiplies as many alone, and twice as many
BLOCK_CELLS = 1 << 22  # influences held at once: 32 MiB


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
    labels, sizes = scores.shape[1], [int(group.max(initial=0)) + 1 for group in partitions]
    aurocs = [np.full((size, labels), np.nan) for size in sizes]
    sums = [np.zeros((size, len(scores))) for size in sizes]
    often = np.count_nonzero(cases & observed, axis=0) >= fewest
    step = max(1, BLOCK_CELLS // max(1, len(scores) * len(partitions)))
    # what an undefined label leaves of the one before is multiplied by 0
    held = np.zeros((len(partitions), step, len(scores)))
    waiting: list[int] = []

    def add_up() -> None:
        for auroc, of_block, summed in zip(aurocs, held, sums, strict=True):
            defined = (~np.isnan(auroc[:, waiting])).astype(np.float64)
            _add_product(defined, of_block[: len(waiting)], summed)
        waiting.clear()

    for ranked in ranked_labels(scores, cases, observed, np.flatnonzero(often)):
        cells, row = _Cells.of(ranked, patients), len(waiting)
        for group, auroc, to in zip(partitions, aurocs, held[:, row], strict=True):
            auroc[:, ranked.label] = cells.rank(group, len(auroc), fewest, to)
        waiting.append(ranked.label)
        if len(waiting) == step:
            add_up()
    add_up()
    return [GroupedAurocs(*each) for each in zip(partitions, aurocs, sums, strict=True)]


def _add_product(
    one: NDArray[np.float64], other: NDArray[np.float64], total: NDArray[np.float64]
) -> None:
    """Add the matrix product, in pieces so small that BLAS does not wake its threads.

    They would spin beside ours: a third of the time of 7,000 labels.
    """
    step = max(1, LONE_PRODUCTS // max(1, one.size))
    for start in range(0, total.shape[1], step):
        columns = slice(start, start + step)
        total[:, columns] += one @ other[:, columns]


@dataclass(frozen=True)
class _Cells:
    """One label's admissions by where their scores lie among those of the cases."""

    level: NDArray[np.int64]  # [admissions] twice the distinct scores of cases below, plus 1 if
    # equal to one: of the scores 1 2 2 3, where the first 2 is the case's, 0 1 1 2
    levels: int
    case: NDArray[np.int64]  # [cases] admissions
    owner: NDArray[np.int64]  # [cases] their patients
    unseen: NDArray[np.bool_] | None  # [admissions]; None: all are observed

    @classmethod
    def of(cls, ranked: Ranked, patients: NDArray[np.int64]) -> _Cells:
        edges = np.concatenate(([0], ranked.ends.T.ravel(), [len(ranked.order)]))
        level = np.zeros(len(patients), np.int64)
        level[ranked.order] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        case, unseen = ranked.order[ranked.places], None
        if len(ranked.order) < len(patients):
            unseen = np.ones(len(patients), bool)
            unseen[ranked.order] = False
        return cls(level, len(edges) - 1, case, patients[case], unseen)

    def rank(
        self, group: NDArray[np.int64], groups: int, fewest: int, added: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the AUROC of each group, and fill in the influence of each admission on it."""
        auroc, width = np.full(groups, np.nan), groups + 1
        have = self._case_patients(group, width)
        if not (have >= fewest).any():
            return auroc
        if self.unseen is not None:  # the unobserved are a group of their own, of no cases
            group = np.where(self.unseen, groups, group)
        place = self.level * width + group  # in tables of [levels, groups]
        size = self.levels * width
        of_all = np.bincount(place, minlength=size).reshape(-1, width)
        of_cases = np.bincount(place[self.case], minlength=size).reshape(-1, width)
        n_cases, n_controls = of_cases.sum(axis=0), (of_all - of_cases).sum(axis=0)
        counts = (have >= fewest) & (n_controls >= fewest)
        # shares, ties half; by level, of the groups that count
        at, below = of_cases[:, counts], (of_all - of_cases)[:, counts]
        n_cases, n_controls, have = n_cases[counts], n_controls[counts], have[counts]
        below = (np.cumsum(below, axis=0) - 0.5 * below) / n_controls
        above = 1 - (np.cumsum(at, axis=0) - 0.5 * at) / n_cases
        value = (at * below).sum(axis=0) / n_cases
        # DeLong's denominator n - 1, of patients: few cases hide their own spread
        wider = np.sqrt(have / np.maximum(have - 1, 1)) / n_cases
        table = np.zeros((2, self.levels, width))
        table[0][:, counts] = (above - value) / n_controls
        table[1][:, counts] = (below - value) * wider
        table[0].take(place, out=added, mode="clip")  # in bounds, and so unbuffered
        added[self.case] = table[1].take(place[self.case])
        auroc[counts[:-1]] = value
        return auroc

    def _case_patients(self, group: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """How many patients of each group have the label; [groups + 1], the last 0."""
        pairs = np.unique(self.owner * width + group[self.case])
        return np.bincount(pairs % width, minlength=width)
