"""Who has a label and who lacks it, counted in patients, in all admissions or by group of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """The patients with a case of a label, and those with a control; one may have both."""

    cases: NDArray[np.int64]  # [groups] patients with a case
    controls: NDArray[np.int64]  # [groups] patients with a control
    # [groups] the effective number of each (Kish, Survey Sampling, 1965), (sum k)^2 / sum k^2 of
    # their numbers of admissions k: fewer where some have most of them; 0: there is none
    effective_cases: Floats
    effective_controls: Floats
    rarer: NDArray[np.int64]  # the clusters of each group's smaller side: its AUROC rests on them


class Clusters:
    """Admissions by patient, or by patient and group. Counts are kept for labels observed alike."""

    def __init__(
        self,
        patients: NDArray[np.int64],
        group: NDArray[np.int64] | None = None,
        weights: Floats | None = None,
    ) -> None:
        """Number the clusters.

        Args:
            patients: [admissions], as 0, 1, 2, ...
            group: [admissions], as 0, 1, 2, ...; None: all are of one.
            weights: [admissions], how much each counts; None: each counts 1.
        """
        group = np.zeros_like(patients) if group is None else group
        self.groups = int(group.max(initial=0)) + 1
        found, self.cluster = np.unique(patients * self.groups + group, return_inverse=True)
        self.group = found % self.groups  # [clusters]
        self._weights = weights
        self._observed: NDArray[np.bool_] | None = None
        self._count(slice(None))

    def sides(self, rows: NDArray[np.int64], observed: NDArray[np.bool_] | None) -> Sides:
        """Split the clusters by a label.

        Args:
            rows: the admissions with the label.
            observed: [admissions], of which admissions it is known; None: of all.
        """
        if not _same(observed, self._observed):
            self._observed = observed
            self._count(slice(None) if observed is None else observed)
        with_case, counts = np.unique(self.cluster[rows], return_counts=True)
        group, only = self.group[with_case], with_case[counts == self._seen[with_case]]
        own = counts.astype(np.float64)
        if self._weights is not None:
            place = np.searchsorted(with_case, self.cluster[rows])
            own = _sums(place, self._weights[rows], len(with_case))
        cases = np.bincount(group, minlength=self.groups)
        controls = self.patients - np.bincount(self.group[only], minlength=self.groups)
        # what these clusters' controls leave of the squares of all that they have
        left = own * (own - 2 * self._weight[with_case])
        total = _sums(group, own, self.groups)
        return Sides(
            cases,
            controls,
            _effective(total, _sums(group, own * own, self.groups)),
            _effective(self._totals - total, self._squares + _sums(group, left, self.groups)),
            self._rarer(with_case, only, cases <= controls),
        )

    def _rarer(
        self, with_case: NDArray[np.int64], only: NDArray[np.int64], by_cases: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The clusters with a case; of groups where these are not fewer, those with a control."""
        if by_cases.all():
            return with_case
        with_control = (self._seen > 0) & ~by_cases[self.group]
        with_control[only] = False
        with_case = with_case[by_cases[self.group[with_case]]]
        return np.concatenate([with_case, np.flatnonzero(with_control)])

    def _count(self, observed: NDArray[np.bool_] | slice) -> None:
        cluster, clusters = self.cluster[observed], len(self.group)
        self._seen = np.bincount(cluster, minlength=clusters)  # [clusters] observed admissions
        self._weight = self._seen.astype(np.float64)
        if self._weights is not None:
            self._weight = _sums(cluster, self._weights[observed], clusters)
        self.patients = np.bincount(self.group[self._seen > 0], minlength=self.groups)  # [groups]
        self._totals = _sums(self.group, self._weight, self.groups)
        self._squares = _sums(self.group, np.square(self._weight), self.groups)


def _sums(place: NDArray[np.int64], values: Floats, places: int) -> Floats:
    return np.bincount(place, values, minlength=places).astype(np.float64, copy=False)


def _effective(total: Floats, squares: Floats) -> Floats:
    return np.divide(np.square(total), squares, out=np.zeros_like(total), where=squares > 0)


def _same(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
