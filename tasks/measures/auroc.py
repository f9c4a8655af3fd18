"""AUROC over many labels: by label, macro and weighted, each with its influence function.

The influence of an admission is what it adds to the estimate's sampling error, to first order:
the estimate minus the truth is about the sum of all influences. Intervals follow from it
without resampling (see `intervals.py`). A label's influences are DeLong's components (Biometrics
44:837-845, 1988): a case's share of controls below it, a control's share of cases above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.clusters import Clusters
from tasks.measures.curves import (
    FALSE_POSITIVE_RATES,
    RECALLS,
    precisions_at_recalls,
    true_positive_rates,
)
from tasks.measures.estimates import Bearers, Estimate
from tasks.measures.influences import influences, lone_cells, standard_error
from tasks.measures.ranks import Ranked, ranked_labels
from tasks.measures.sample import Sample
from tasks.measures.small_samples import lone_influence
from tasks.threads import one_blas_thread


@dataclass(frozen=True)
class LabelAurocs:
    """The AUROC of every label, and what is summed over each group of labels."""

    auroc: NDArray[np.float64]  # [labels]; NaN: undefined, no case or no control
    standard_error: NDArray[np.float64]  # [labels]; NaN: one patient alone has it, or lacks it
    average_precision: NDArray[np.float64]  # [labels]; NaN: undefined
    cases: NDArray[np.int64]  # [labels]
    controls: NDArray[np.int64]  # [labels]
    case_patients: NDArray[np.int64]  # [labels]
    control_patients: NDArray[np.int64]  # [labels]
    group: NDArray[np.int64]  # [labels]
    lone: NDArray[np.float64]  # [3, cells] as `lone_cells` gives them, label after label
    bearers: Bearers
    roc: NDArray[np.float64]  # true positive rates, the mean over defined labels; NaN: none is
    precision: NDArray[np.float64]  # at RECALLS, the same mean
    _sums: _Sums

    @property
    def rarer(self) -> NDArray[np.int64]:
        """On how many patients each label rests: who have it, or lack it if those are fewer."""
        return np.minimum(self.case_patients, self.control_patients)

    def defined(self, groups: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Which labels of these groups (all of them by default) have a case and a control."""
        chosen = np.ones(len(self.group), bool) if groups is None else np.isin(self.group, groups)
        return chosen & ~np.isnan(self.auroc)

    def macro(self, groups: Sequence[int] | None = None) -> Estimate:
        """The mean over the defined labels of these groups; undefined labels are left out."""
        defined = self.defined(groups)
        count = int(defined.sum())
        if not count:
            return self._undefined()
        summed = self._sums.influence[self._rows(groups)].sum(0)
        value = float(self.auroc[defined].mean())
        return self._estimate(value, summed / count, defined / count)

    def weighted(self, groups: Sequence[int] | None = None) -> Estimate:
        """The mean over the defined labels, each counting as often as it has cases.

        The weights are of the sample too: a case of a label above the mean pulls it up.

        >>> sample = Sample.of([[0, 0], [1, 2], [2, 1]], [[0, 0], [1, 1], [0, 1]])
        >>> aurocs = label_aurocs(sample)
        >>> macro, weighted = aurocs.macro().value, aurocs.weighted().value  # 1 and 2 cases
        >>> macro, round(weighted, 4)  # (0.5 + 1) / 2, (0.5 + 2 * 1) / 3
        (0.75, 0.8333)
        """
        defined = self.defined(groups)
        cases = self.cases[defined]
        if not cases.sum():
            return self._undefined()
        rows = self._rows(groups)
        value = float(np.average(self.auroc[defined], weights=cases))
        pulled = self._sums.case_auroc[rows].sum(0) - value * self._sums.case_count[rows].sum(0)
        summed = self._sums.by_cases[rows].sum(0) + pulled
        weight = np.where(defined, self.cases, 0) / cases.sum()
        return self._estimate(value, summed / cases.sum(), weight)

    def _estimate(
        self, value: float, influence: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> Estimate:
        """The mean of these weights, with the labels of one patient given their influence."""
        lone = lone_influence(self.auroc, weight, self.rarer, self.lone, len(influence))
        inside = weight > 0
        sizes = self.case_patients[inside], self.control_patients[inside]
        patients = self.bearers.count(inside)
        return Estimate.of_aurocs(value, influence + lone, *sizes, patients, weight[inside])

    def _rows(self, groups: Sequence[int] | None) -> list[int]:
        made = range(len(self._sums.influence))  # a group above has no label
        return [group for group in (made if groups is None else groups) if group in made]

    def _undefined(self) -> Estimate:
        return Estimate(float("nan"), np.zeros(self._sums.influence.shape[1]))


def label_aurocs(sample: Sample) -> LabelAurocs:
    """Rank the observed admissions of every label by their scores.

    >>> sample = Sample.of([[0.1], [0.4], [0.4], [0.9]], [[False], [True], [False], [True]])
    >>> label_aurocs(sample).auroc  # 0.4 beats one control and ties with one, 0.9 beats both
    array([0.875])
    """
    clusters = Clusters(sample.patients, weights=sample.weights)
    tally = _Tally.empty(sample)
    with one_blas_thread():
        for ranked in ranked_labels(sample):
            tally.add(ranked, sample, clusters)
    columns, counts = tally.columns, tally.columns[3:].astype(np.int64)
    drawn = int((~np.isnan(columns[0])).sum()) or float("nan")
    return LabelAurocs(
        auroc=columns[0],
        standard_error=columns[1],
        average_precision=columns[2],
        cases=counts[0],
        controls=counts[1],
        case_patients=counts[2],
        control_patients=counts[3],
        group=sample.groups,
        lone=np.concatenate([np.zeros((3, 0)), *tally.lone], axis=1),
        bearers=Bearers.of(tally.bearers),
        roc=tally.roc / drawn,
        precision=tally.precision / drawn,
        _sums=_Sums(*tally.sums),
    )


def one_vs_one(sample: Sample) -> Estimate:
    """The mean over ordered pairs of classes (a, b): a's score told members of a from those of b.

    Pairs of which a class has no member are left out (Hand & Till 2001). Unlike the macro AUROC it
    does not depend on how frequent the classes are.

    Args:
        sample: its labels are classes, of which an observed admission has exactly one; its scores
            are comparable between admissions (log-odds, see class_scores).

    >>> scores = [[2, 0, 0], [0, 1, 2], [1, 0, 1.5], [0, 2, 1]]
    >>> sample = Sample.of(scores, np.eye(3, dtype=bool)[[0, 1, 2, 1]])
    >>> round(one_vs_one(sample).value, 4)  # 5.5 of 6 pairs of classes
    0.9167
    """
    pairs = np.array(list(permutations(range(sample.labels), 2)), np.int64).reshape(-1, 2)
    first, second = pairs.T
    known = sample.cases & sample.observed
    scores, cases = sample.scores[:, first], known[:, first]
    return label_aurocs(Sample.of(scores, cases, cases | known[:, second], sample.patients)).macro()


@dataclass(frozen=True)
class _Sums:
    """Of each group of labels, what each admission adds up to; all [groups, admissions]."""

    influence: NDArray[np.float64]
    by_cases: NDArray[np.float64]  # influences, each label's times its number of cases
    case_auroc: NDArray[np.float64]  # the AUROCs of the labels that the admission has
    case_count: NDArray[np.float64]  # how many those are


@dataclass
class _Tally:
    """What is known after some of the labels."""

    columns: NDArray[np.float64]  # [7, labels], as LabelAurocs begins
    sums: NDArray[np.float64]  # [4, groups, admissions], as _Sums
    roc: NDArray[np.float64]
    precision: NDArray[np.float64]
    lone: list[NDArray[np.float64]]  # [3, cells] each
    bearers: list[tuple[int, NDArray[np.int64]]]  # a label, and on whom it rests

    @classmethod
    def empty(cls, sample: Sample) -> _Tally:
        columns = np.full((7, sample.labels), np.nan)
        columns[3:] = 0
        curves = np.zeros(len(FALSE_POSITIVE_RATES)), np.zeros(len(RECALLS))
        sums = np.zeros((4, sample.n_groups, sample.admissions))
        return cls(columns, sums, *curves, lone=[], bearers=[])

    def add(self, ranked: Ranked, sample: Sample, clusters: Clusters) -> None:
        """Measure one label and add its influences to its group's."""
        column, admissions = self.columns[:, ranked.label], sample.admissions
        rows = ranked.order[ranked.positions]  # the admissions with the label
        sides = clusters.sides(rows, ranked.observed(admissions))
        column[3:5] = len(rows), len(ranked.order) - len(rows)
        column[5:] = sides.cases[0], sides.controls[0]
        if not 0 < len(rows) < len(ranked.order):
            return
        ranks = ranked.ranks(sample.weights)
        if not ranks.defined:
            return
        influence = np.zeros(admissions)
        influence[ranked.order] = influences(ranked, ranks, sides, sample.weights)
        column[0], column[2] = ranks.auroc, ranks.average_precision
        bearers = sides.rarer()
        self.bearers.append((ranked.label, bearers))
        if len(bearers) > 1:
            by_patient = np.bincount(sample.patients, influence).astype(np.float64)
            column[1] = standard_error(by_patient, int(sides.patients[0]))
        else:
            self.lone.append(lone_cells(ranked, sides, sample.weights))
        influence_sum, by_cases, case_auroc, case_count = self.sums[:, sample.groups[ranked.label]]
        influence_sum += influence
        by_cases += len(rows) * influence
        case_auroc[rows] += ranks.auroc
        case_count[rows] += 1
        self.roc += true_positive_rates(ranks)
        self.precision += precisions_at_recalls(ranks)
