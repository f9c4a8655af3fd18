"""Who has a label and who lacks it, counted in patients, in all admissions or by group of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Clusters:
    """Admissions by patient, or by patient and group."""

    def __init__(
        self, patients: Ints, group: Ints | None = None, weights: Floats | None = None
    ) -> None:
        """Number the clusters.

        Args:
            patients: [admissions], as 0, 1, 2, ...
            group: [admissions], as 0, 1, 2, ...; None: all are of one.
            weights: [admissions], how much each counts; None: each counts 1.
        """
        group = np.zeros_like(patients) if group is None else group
        self.groups = int(group.max(initial=0)) + 1
        clusters, self.cluster = np.unique(patients * self.groups + group, return_inverse=True)
        self.group = clusters % self.groups  # [clusters]
        self.weights = weights
        self._observed: NDArray[np.bool_] | None = None
        self._totals = _Totals.of(self, slice(None))

    def sides(self, rows: Ints, observed: NDArray[np.bool_] | None) -> Sides:
        """Split the clusters by a label.

        Args:
            rows: the admissions with the label.
            observed: [admissions], of which admissions it is known; None: of all. What follows
                from it is kept for the next label, which may be observed alike.

        >>> sides = Clusters(np.array([0, 0, 1, 2])).sides(np.array([0, 2]), None)  # of 0 and of 1
        >>> sides.cases.tolist(), sides.controls.tolist(), sides.patients.tolist()  # 0 is on both
        ([2], [2], [3])
        """
        if not _same(observed, self._observed):
            self._observed = observed
            self._totals = _Totals.of(self, slice(None) if observed is None else observed)
        with_case, counts = np.unique(self.cluster[rows], return_counts=True)
        only = with_case[counts == self._totals.admissions[with_case]]
        weight = counts.astype(np.float64)
        if self.weights is not None:
            index = np.searchsorted(with_case, self.cluster[rows])
            weight = _sums(index, self.weights[rows], len(with_case))
        group = self.group[with_case]
        cases = np.bincount(group, minlength=self.groups)
        controls = self._totals.patients - np.bincount(self.group[only], minlength=self.groups)
        return Sides(cases, controls, with_case, group, weight, only, self.group, self._totals)


@dataclass(frozen=True)
class _Totals:
    """What is observed of some labels."""

    admissions: Ints  # [clusters] how many
    weight: Floats  # [clusters] of these
    patients: Ints  # [groups] with any
    total: Floats  # [groups] of the weights
    squares: Floats  # [groups] of the weights' squares

    @classmethod
    def of(cls, clusters: Clusters, observed: NDArray[np.bool_] | slice) -> _Totals:
        cluster, group, groups = clusters.cluster[observed], clusters.group, clusters.groups
        admissions = np.bincount(cluster, minlength=len(group))
        weight = admissions.astype(np.float64)
        if clusters.weights is not None:
            weight = _sums(cluster, clusters.weights[observed], len(group))
        patients = np.bincount(group[admissions > 0], minlength=groups)
        sums = (_sums(group, values, groups) for values in (weight, weight * weight))
        return cls(admissions, weight, patients, *sums)


@dataclass(frozen=True)
class Sides:
    """The patients with a case of a label, and those with a control; one may have both."""

    cases: Ints  # [groups] patients with a case
    controls: Ints  # [groups] patients with a control
    _with_case: Ints  # the clusters with a case, rising
    _group: Ints  # [clusters with a case]
    _weight: Floats  # [clusters with a case] of the cases
    _only: Ints  # the clusters whose every observed admission is a case
    _groups: Ints  # [clusters]
    _totals: _Totals

    @property
    def patients(self) -> Ints:
        """The patients with either; [groups]."""
        return self._totals.patients

    def effective(self) -> Floats:
        """The effective numbers of patients with a case and of those with a control; [2, groups].

        Kish's (Survey Sampling, 1965), (sum k)^2 / sum k^2 of their numbers of admissions k: fewer
        where some have most of them; 0 where there is none.
        """
        weight, size = self._weight, len(self.cases)
        total, squares = _sums(self._group, weight, size), _sums(self._group, weight**2, size)
        # what these clusters' controls leave of the squares of all that they have
        left = _sums(
            self._group, weight * (weight - 2 * self._totals.weight[self._with_case]), size
        )
        totals = np.array([total, self._totals.total - total])
        below = np.array([squares, self._totals.squares + left])
        return np.divide(totals * totals, below, out=np.zeros_like(totals), where=below > 0)

    def rarer(self) -> Ints:
        """The clusters of each group's smaller side, on which its AUROC rests."""
        by_cases = self.cases <= self.controls
        if by_cases.all():
            return self._with_case
        with_control = (self._totals.admissions > 0) & ~by_cases[self._groups]
        with_control[self._only] = False
        return np.concatenate(
            [self._with_case[by_cases[self._group]], np.flatnonzero(with_control)]
        )


def _sums(index: Ints, values: Floats, size: int) -> Floats:
    return np.bincount(index, values, minlength=size).astype(np.float64, copy=False)


def _same(first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)
