"""AUROC of every label within every group of patients, and its influences, from one ranking.

A label is sorted once however many partitions of the admissions (by sex, by age, ...) ask for it:
within a group a case's placement needs only the group's counts between the cases' scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.measures.clusters import Clusters, Sides
from tasks.measures.estimates import Bearers, Estimate
from tasks.measures.influences import hidden_spread
from tasks.measures.ranks import Ranked, ranked_labels
from tasks.measures.sample import Sample
from tasks.measures.small_samples import TOO_FEW
from tasks.threads import one_blas_thread

BLOCK_CELLS = 1 << 22  # influences held at once: 32 MiB


@dataclass(frozen=True)
class GroupedAurocs:
    """One partition of the admissions, and the AUROC of every label within its groups."""

    group: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... the admission's group
    auroc: NDArray[np.float64]  # [groups, labels]; NaN: too few patients with or without it
    influence: NDArray[np.float64]  # [groups, admissions]; in row h an admission of group g has
    # the sum of its influences on g's AUROCs of the labels that are defined in g and h
    case_patients: NDArray[np.int64]  # [groups, labels]
    control_patients: NDArray[np.int64]  # [groups, labels]
    bearers: list[Bearers]  # [groups]

    def shared(self, first: int, second: int) -> NDArray[np.bool_]:
        """Which labels are defined in both groups; [labels]."""
        return ~np.isnan(self.auroc[first]) & ~np.isnan(self.auroc[second])

    def macro(self, group: int, shared_with: int | None = None) -> Estimate:
        """The group's mean over its labels, or over those that another group has, too."""
        other = group if shared_with is None else shared_with
        labels = self.shared(group, other)
        count = int(labels.sum())
        if not count:
            return Estimate(float("nan"), np.zeros(len(self.group)), TOO_FEW)
        influence = np.where(self.group == group, self.influence[other], 0.0)
        sizes = self.case_patients[group, labels], self.control_patients[group, labels]
        patients, weight = self.bearers[group].count(labels), np.full(count, 1 / count)
        value = float(self.auroc[group, labels].mean())
        return Estimate.of_aurocs(value, influence / count, *sizes, patients, weight)


def grouped_aurocs(
    sample: Sample, partitions: Sequence[NDArray[np.int64]], fewest: int
) -> list[GroupedAurocs]:
    """Rank the admissions of each group by their scores, label by label.

    Args:
        partitions: each [admissions], the admission's group as 0, 1, 2, ...
        fewest: a label counts in a group where this many patients have it, and as many lack it.

    >>> sample = Sample.of([[1], [2], [3], [4], [4], [3]], [[0], [1], [0], [1], [0], [1]])
    >>> (by_sex,) = grouped_aurocs(sample, [np.array([0, 0, 0, 1, 1, 1])], fewest=1)
    >>> by_sex.auroc  # of 2 against 1 and 3; of 4 and 3 against 4
    array([[0.5 ],
           [0.25]])
    """
    block = max(1, BLOCK_CELLS // max(1, sample.admissions * len(partitions)))
    tallies = [_Tally.empty(sample, group, block) for group in partitions]
    waiting: list[int] = []
    with one_blas_thread():
        for ranked in ranked_labels(sample, sample.labels_with(fewest)):
            cells = _Cells.of(ranked, sample.admissions)
            for tally in tallies:
                tally.rank(ranked.label, len(waiting), cells, fewest)
            waiting.append(ranked.label)
            if len(waiting) == block:
                _add_up(tallies, waiting)
        _add_up(tallies, waiting)
    return [tally.aurocs() for tally in tallies]


@dataclass
class _Tally:
    """What is known of one partition after some of the labels."""

    group: NDArray[np.int64]  # [admissions]
    clusters: Clusters
    auroc: NDArray[np.float64]  # [groups, labels]
    influence: NDArray[np.float64]  # [groups, admissions]
    counts: NDArray[np.int64]  # [2, groups, labels] patients with a case, and with a control
    of_labels: NDArray[np.float64]  # [labels of a block, admissions] influences not yet added up;
    # what an undefined label leaves of the one before is multiplied by 0
    bearers: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)

    @classmethod
    def empty(cls, sample: Sample, group: NDArray[np.int64], block: int) -> _Tally:
        clusters = Clusters(sample.patients, group)
        shape = clusters.groups, sample.labels
        return cls(
            group,
            clusters,
            np.full(shape, np.nan),
            np.zeros((clusters.groups, sample.admissions)),
            np.zeros((2, *shape), np.int64),
            np.zeros((block, sample.admissions)),
        )

    def rank(self, label: int, row: int, cells: _Cells, fewest: int) -> None:
        """Measure a label in every group; its influences wait in a row of `of_labels`."""
        sides = self.clusters.sides(cells.case, cells.observed)
        self.counts[:, :, label] = sides.cases, sides.controls
        if (np.minimum(sides.cases, sides.controls) >= fewest).any():
            self.auroc[:, label] = cells.rank(self.group, sides, fewest, self.of_labels[row])
            self.bearers.append((label, sides.rarer()))

    def add_up(self, labels: list[int]) -> None:
        """Add the influences of these labels, which wait, where they are defined."""
        defined = (~np.isnan(self.auroc[:, labels])).astype(np.float64)
        self.influence += defined @ self.of_labels[: len(labels)]

    def aurocs(self) -> GroupedAurocs:
        bearers = _by_group(Bearers.of(self.bearers), self.clusters)
        cases, controls = self.counts
        return GroupedAurocs(self.group, self.auroc, self.influence, cases, controls, bearers)


def _add_up(tallies: list[_Tally], waiting: list[int]) -> None:
    for tally in tallies:
        tally.add_up(waiting)
    waiting.clear()


def _by_group(bearers: Bearers, clusters: Clusters) -> list[Bearers]:
    """Split who bears each label, as clusters, by the group that the cluster is of."""
    group = clusters.group[bearers.patient]
    return [
        Bearers(bearers.label[group == number], bearers.patient[group == number])
        for number in range(clusters.groups)
    ]


@dataclass(frozen=True)
class _Cells:
    """One label's admissions by where their scores lie among those of the cases."""

    level: NDArray[np.int64]  # [admissions] twice the distinct scores of cases below, plus 1 if
    # equal to one: of the scores 1 2 2 3, where the first 2 is the case's, 0 1 1 2
    levels: int
    case: NDArray[np.int64]  # [cases] admissions
    observed: NDArray[np.bool_] | None  # [admissions]; None: all are

    @classmethod
    def of(cls, ranked: Ranked, admissions: int) -> _Cells:
        edges = np.concatenate(([0], ranked.ends.T.ravel(), [len(ranked.order)]))
        level = np.zeros(admissions, np.int64)
        level[ranked.order] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        case = ranked.order[ranked.positions]
        return cls(level, len(edges) - 1, case, ranked.observed(admissions))

    def rank(
        self, group: NDArray[np.int64], sides: Sides, fewest: int, added: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the AUROC of each group, and fill in the influence of each admission on it."""
        groups = len(sides.cases)
        auroc, width = np.full(groups, np.nan), groups + 1
        enough = np.minimum(sides.cases, sides.controls) >= fewest
        if self.observed is not None:  # the unobserved are a group of their own, of no cases
            group = np.where(self.observed, group, groups)
        cell = self.level * width + group  # of tables of [levels, groups]
        size = self.levels * width
        of_all = np.bincount(cell, minlength=size).reshape(-1, width)
        of_cases = np.bincount(cell[self.case], minlength=size).reshape(-1, width)
        # shares, ties half; by level, of the groups that count
        counts = np.append(enough, False)
        at, below = of_cases[:, counts], (of_all - of_cases)[:, counts]
        n_cases, n_controls = at.sum(axis=0), below.sum(axis=0)
        below = (np.cumsum(below, axis=0) - 0.5 * below) / n_controls
        above = 1 - (np.cumsum(at, axis=0) - 0.5 * at) / n_cases
        value = (at * below).sum(axis=0) / n_cases
        case_spread, control_spread = hidden_spread(sides.effective()[:, enough])
        table = np.zeros((2, self.levels, width))
        table[0][:, counts] = (above - value) * control_spread / n_controls
        table[1][:, counts] = (below - value) * case_spread / n_cases
        table[0].take(cell, out=added, mode="clip")  # in bounds, and so unbuffered
        added[self.case] = table[1].take(cell[self.case])
        auroc[enough] = value
        return auroc
