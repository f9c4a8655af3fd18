"""AUROC over many labels, by label, macro and micro, each with its influence function.

The influence of an admission is what it adds to the estimate's sampling error, to first order:
the estimate minus the truth is about the sum of all influences. Intervals follow from it
without resampling (see `intervals.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.placements import THREADS, placements, pooled_placement_sums

LABEL_BLOCK = 64  # labels whose columns are copied at once: 2.5 MB for 10,000 admissions


@dataclass(frozen=True)
class Estimate:
    """A value with the influence of each admission on it; the influences add up to zero."""

    value: float  # NaN: undefined
    influence: NDArray[np.float64]  # [admissions]


@dataclass(frozen=True)
class LabelAurocs:
    """The AUROC of every label, and the influences summed over each group of labels."""

    auroc: NDArray[np.float64]  # [labels]; NaN: undefined, no case or no control
    standard_error: NDArray[np.float64]  # [labels]; NaN: fewer than two patients with the label
    cases: NDArray[np.int64]  # [labels]
    controls: NDArray[np.int64]  # [labels]
    case_patients: NDArray[np.int64]  # [labels]
    group: NDArray[np.int64]  # [labels]
    influence: NDArray[np.float64]  # [groups, admissions]

    def defined(self, groups: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Which labels of these groups (all of them by default) have a case and a control."""
        chosen = np.ones(len(self.group), bool) if groups is None else np.isin(self.group, groups)
        return chosen & ~np.isnan(self.auroc)

    def macro(self, groups: Sequence[int] | None = None) -> Estimate:
        """The mean over the defined labels of these groups; undefined labels are left out."""
        defined = self.defined(groups)
        count = int(defined.sum())
        if not count:
            return Estimate(float("nan"), np.zeros(self.influence.shape[1]))
        rows = list(range(len(self.influence))) if groups is None else list(groups)
        return Estimate(float(self.auroc[defined].mean()), self.influence[rows].sum(0) / count)


def label_aurocs(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    group: NDArray[np.int64] | None = None,
) -> LabelAurocs:
    """Rank the observed admissions of every label by their scores.

    Args:
        scores: [admissions, labels], finite; only their order within a label counts.
        cases: [admissions, labels], whether the admission has the label.
        observed: [admissions, labels], whether it is known; unobserved cells are left out.
        patients: [admissions], whose admission it is, as 0, 1, 2, ...
        group: [labels], the label's group (its code system) as 0, 1, 2, ...
    """
    labels = scores.shape[1]
    group = np.zeros(labels, np.int64) if group is None else group
    blocks = [slice(start, start + LABEL_BLOCK) for start in range(0, labels, LABEL_BLOCK)]

    def work(mine: list[slice]) -> tuple[list[_Block], NDArray[np.float64]]:
        influence = np.zeros((int(group.max(initial=0)) + 1, len(scores)))
        done = [_rank_block(scores, cases, observed, patients, group, b, influence) for b in mine]
        return done, influence

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(work, [blocks[thread::THREADS] for thread in range(THREADS)]))
    ranked = sorted((block for done, _ in parts for block in done), key=lambda block: block.start)
    columns = np.concatenate([block.columns for block in ranked], axis=1)
    auroc, standard_error, n_cases, n_controls, n_patients = columns
    return LabelAurocs(
        auroc,
        standard_error,
        n_cases.astype(np.int64),
        n_controls.astype(np.int64),
        n_patients.astype(np.int64),
        group,
        np.sum([influence for _, influence in parts], axis=0),
    )


def micro(
    scores: NDArray[np.float32], cases: NDArray[np.bool_], observed: NDArray[np.bool_]
) -> Estimate:
    """The AUROC of all observed (admission, label) cells pooled into one ranking.

    Args: as for `label_aurocs`. Undefined (NaN) where no cell is a case, or none a control.
    """
    pool, case_sums, control_sums = pooled_placement_sums(scores, cases, observed)
    if not pool.cases or not pool.controls:
        return Estimate(float("nan"), np.zeros(len(scores)))
    value = float(case_sums.sum() / pool.cases)
    n_cases = np.count_nonzero(cases & observed, axis=1)
    n_controls = np.count_nonzero(observed, axis=1) - n_cases
    influence = (case_sums - value * n_cases) / pool.cases
    influence += (control_sums - value * n_controls) / pool.controls
    return Estimate(value, influence)


@dataclass(frozen=True)
class _Block:
    start: int
    columns: NDArray[np.float64]  # [5, labels of the block]


def _rank_block(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    group: NDArray[np.int64],
    block: slice,
    influence: NDArray[np.float64],
) -> _Block:
    """Rank the labels of a block, and add each one's influences to its group's row."""
    score = np.ascontiguousarray(scores[:, block].T)
    case = np.ascontiguousarray(cases[:, block].T)
    seen = np.ascontiguousarray(observed[:, block].T)
    n_patients = int(patients.max(initial=-1)) + 1
    columns = np.full((5, len(score)), np.nan)
    for label in range(len(score)):
        rows = np.flatnonzero(seen[label])
        whole = len(rows) == len(patients)
        is_case = case[label] if whole else case[label][rows]
        n_cases = int(np.count_nonzero(is_case))
        n_controls = len(rows) - n_cases
        columns[2:4, label] = n_cases, n_controls
        owners = patients if whole else patients[rows]
        columns[4, label] = case_patients = len(np.unique(owners[is_case]))
        if not n_cases or not n_controls:
            continue
        place = placements(score[label] if whole else score[label][rows], is_case)
        value = float(place[is_case].mean())
        added = np.where(is_case, (place - value) / n_cases, (place - value) / n_controls)
        if case_patients > 1:  # DeLong's denominator n - 1: few cases hide their own spread
            added[is_case] *= np.sqrt(case_patients / (case_patients - 1))
        influence[group[block][label], rows] += added
        columns[0, label] = value
        if case_patients > 1:
            by_patient = np.bincount(owners, added, minlength=n_patients)
            clusters = len(np.unique(owners)) if not whole else n_patients
            columns[1, label] = np.sqrt(clusters / (clusters - 1) * np.square(by_patient).sum())
    return _Block(block.start, columns)
