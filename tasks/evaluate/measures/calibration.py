"""How far predicted probabilities can be taken at their word: Brier, ECE, slope and intercept.

The calibration slope is that of the logistic regression of the outcome on the logit (1: neither
over- nor underconfident); the calibration intercept is that of the same regression with the slope
held at 1, calibration-in-the-large (0: neither over- nor underestimated). Van Calster et al.,
J Clin Epidemiol 74:167-176, 2016, and BMC Medicine 17:230, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.columns import Column, in_parts
from tasks.evaluate.measures.logistic import (
    BINS,
    Cells,
    Line,
    binned,
    fit_line,
    fit_offset,
    overlaps,
    product,
    refined_offset,
    refined_slope,
    sigmoid,
)
from tasks.evaluate.measures.recalibration import Recalibration
from tasks.evaluate.measures.reliability import Reliability

ECE_BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The calibration of some labels; NaN for the others, and where a value is not defined."""

    labels: NDArray[np.int64]  # those that were measured
    influence: Floats  # [groups, admissions] on the sum of the Brier scores of the group's labels
    reliability: Reliability  # of all observed cells of the labels
    brier: Floats  # [all labels] mean squared distance of probability and outcome
    brier_error: Floats  # [all labels] standard errors, clustered by patient
    ece: Floats  # [all labels] expected calibration error; biased upwards, so without an interval
    slope: Floats  # [all labels]; NaN: cases and controls do not overlap
    slope_error: Floats
    intercept: Floats  # [all labels]
    intercept_error: Floats


@dataclass
class _Part:
    """What one part of the labels adds up."""

    influence: Floats
    reliability: Reliability = field(default_factory=Reliability)


def calibration(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
    labels: NDArray[np.int64],
    group: NDArray[np.int64],
    line: Recalibration,
) -> Calibration:
    """Measure these labels, their logits first taken through `line`.

    Args:
        scores, cases, observed: [admissions, all labels]; the logits as predicted.
        patients: [admissions], as 0, 1, 2, ...
        labels: those to measure; each with a case and a control.
        group: [all labels], into which group's influence a label counts, as 0, 1, 2, ...
        line: what is done to the logits; `unchanged` for the probabilities as predicted.
    """
    columns = np.full((7, scores.shape[1]), np.nan)
    start = _binned_fits(scores, cases, observed, labels, line)
    n_groups = int(group.max(initial=0)) + 1

    def work(found: Iterator[Column]) -> _Part:
        part = _Part(np.zeros((n_groups, len(scores))))
        for column in found:
            label = column.label
            logit = line.slope[label] * column.scores.astype(np.float64) + line.intercept[label]
            chance = sigmoid(logit)
            owners = patients[column.rows]
            clusters = _Clusters(owners)
            apart = np.square(chance - column.cases)
            columns[0, label] = brier = float(apart.mean())
            apart -= brier
            apart /= len(apart)
            columns[1, label] = clusters.standard_error(apart)
            part.influence[group[label], column.rows] += apart
            columns[2, label] = expected_calibration_error(
                column.scores, column.cases, line.slope[label], line.intercept[label]
            )
            if overlaps(column.scores, column.cases):
                begin = float(start[0].slope[label]), float(start[0].intercept[label])
                columns[3, label], influence = refined_slope(logit, column.cases, begin)
                columns[4, label] = clusters.standard_error(influence)
            begun = float(start[1][label])
            columns[5, label], influence = refined_offset(logit, column.cases, begun)
            columns[6, label] = clusters.standard_error(influence)
            part.reliability.add(logit, chance, column.cases)
        return part

    parts = in_parts(work, scores, cases, observed, labels)
    influence = np.sum([part.influence for part in parts], axis=0)
    reliability = parts[0].reliability.plus(parts[1].reliability)
    return Calibration(labels, influence, reliability, *columns)


def expected_calibration_error(
    scores: NDArray[np.floating],
    cases: NDArray[np.bool_],
    slope: float = 1.0,
    intercept: float = 0.0,
) -> float:
    """The mean distance of predicted and observed shares over bins of about equal mass.

    Naeini et al., AAAI 2015, with ECE_BINS bins of equal mass (Nixon et al. 2019), fewer where
    there are fewer admissions; a run of equal logits is never split between bins.

    Args:
        scores, cases: [observed].
        slope, intercept: the line that takes scores to logits; rising, it keeps their order.

    >>> logits = np.array([-5.0, -5.0, 5.0, 5.0])
    >>> round(expected_calibration_error(logits, np.array([False, False, True, False])), 4)
    0.25
    """
    ranked = np.sort(scores)  # as they come: float32 sorts in half the time
    with_label = np.sort(scores[cases])
    cuts = np.arange(1, ECE_BINS) * len(ranked) // ECE_BINS
    edges = np.unique(np.searchsorted(ranked, ranked[cuts], "left"))
    edges = np.append(0, edges[edges > 0])
    chance = sigmoid(slope * ranked.astype(np.float64) + intercept)
    predicted = np.add.reduceat(chance, edges)
    before = np.append(np.searchsorted(with_label, ranked[edges], "left"), len(with_label))
    return float(np.abs(predicted - np.diff(before)).sum() / len(ranked))


@dataclass(frozen=True)
class _Clusters:
    """Sums influences within patients: a patient's admissions are not independent."""

    owners: NDArray[np.int64]  # [observed]

    def standard_error(self, influence: Floats) -> float:
        """As `intervals.standard_error`, of one label's observed admissions."""
        patients = int(np.count_nonzero(np.bincount(self.owners)))
        if patients < 2:
            return float("nan")
        by_patient = np.bincount(self.owners, influence).astype(np.float64)
        return float(np.sqrt(patients / (patients - 1) * product(by_patient, by_patient)))


def _binned_fits(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    labels: NDArray[np.int64],
    line: Recalibration,
) -> tuple[Line, Floats]:
    """All labels' line and offset from their binned logits: where the exact fits start."""
    width = scores.shape[1]
    cells = Cells(
        np.zeros((width, BINS)), np.zeros((width, BINS)), np.zeros(width), np.zeros(width)
    )

    def work(found: Iterator[Column]) -> None:
        for column in found:
            at = column.label
            logit = line.slope[at] * column.scores.astype(np.float64) + line.intercept[at]
            cells.scores[at], cells.counts[at] = binned(logit)  # type: ignore[index]
            cells.cases[at] = np.count_nonzero(column.cases)
            cells.case_scores[at] = logit[column.cases].sum()

    in_parts(work, scores, cases, observed, labels)
    assert cells.counts is not None
    some = Cells(
        cells.scores[labels], cells.counts[labels], cells.cases[labels], cells.case_scores[labels]
    )
    fitted, offset = fit_line(some), fit_offset(some)
    whole = np.full((3, width), np.nan)
    whole[:, labels] = fitted.slope, fitted.intercept, offset
    return Line(whole[0], whole[1]), whole[2]
