"""Recalibration learned on validation: Platt's line where a label has cases enough, else one scale.

Platt, Probabilistic outputs for support vector machines, 1999; one temperature for what is left:
Guo et al., On calibration of modern neural networks, ICML 2017. Every slope is positive, so that no
label's ranking, and no AUROC, is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column
from tasks.measures.logistic import Cells, Line, fit_line, sigmoid
from tasks.measures.sample import Sample, row_blocks

LEAST_CASES = 20  # of a label, and as many controls: fewer cannot carry a line of their own
_EDGE = 64.0  # a logit beyond it is counted as this large: sigmoid(64) is 1 - 1e-28
_STEPS = 128  # bins in a unit of logit; within one, the mean stands for all
_SCALES = (1e-3, 1e3)  # a temperature from 1000 down to 0.001


@dataclass(frozen=True)
class Recalibration:
    """For each label, the line from the logit as predicted to the recalibrated one."""

    slope: NDArray[np.float64]  # [labels], positive
    intercept: NDArray[np.float64]  # [labels]
    of_label: NDArray[np.bool_]  # [labels] a line of its own; the others share one temperature


def unchanged(labels: int) -> Recalibration:
    """The recalibration that leaves every logit as it was predicted.

    >>> unchanged(2).slope
    array([1., 1.])
    """
    return Recalibration(np.ones(labels), np.zeros(labels), np.zeros(labels, bool))


def recalibrate(sample: Sample) -> Recalibration:
    """Fit the recalibration to validation.

    A label whose line would fall, or that nothing tells of, takes the common temperature, which is
    fitted to the observed cells of all such labels together (1 where they have no case).

    Args:
        sample: of the validation split.

    >>> sample = Sample.of(np.repeat([[4.0], [-4.0]], 4, axis=0), [[1]] * 3 + [[0]] * 4 + [[1]])
    >>> recalibrate(sample).slope.round(4)  # too few for a line: log(3) / 4
    array([0.2747])
    """
    labels = sample.labels_with(LEAST_CASES, LEAST_CASES)
    line = _platt(sample, labels)
    rises = line.slope > 0  # False for NaN
    lines = unchanged(sample.labels)
    lines.of_label[labels[rises]] = True
    lines.slope[labels[rises]] = line.slope[rises]
    lines.intercept[labels[rises]] = line.intercept[rises]
    lines.slope[~lines.of_label] = _temperature_scale(sample, ~lines.of_label)
    return lines


def _platt(sample: Sample, labels: NDArray[np.int64]) -> Line:
    """Each label's line, towards Platt's targets: they keep it finite where nothing overlaps."""
    cells = Cells.binned(sample, labels, _targets)
    start = fit_line(cells)
    lines = Line(np.full(len(labels), np.nan), np.full(len(labels), np.nan))

    def refine(columns: Iterator[Column]) -> None:
        for column in columns:
            at = np.flatnonzero(labels == column.label)
            score = column.scores.astype(np.float64)[None, :]
            of_label = Cells(score, None, cells.cases[at], cells.case_scores[at])
            line = fit_line(of_label, Line(start.slope[at], start.intercept[at]))
            lines.slope[at], lines.intercept[at] = line.slope, line.intercept

    by_column(refine, sample, labels)
    return lines


def _targets(scores: NDArray[np.float64], cases: NDArray[np.bool_]) -> tuple[float, float]:
    """The sum of Platt's targets, and of target times score."""
    positives = int(np.count_nonzero(cases))
    negatives = len(cases) - positives
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    of_cases = float(scores[cases].sum())
    return (
        high * positives + low * negatives,
        high * of_cases + low * (float(scores.sum()) - of_cases),
    )


def _temperature_scale(sample: Sample, labels: NDArray[np.bool_]) -> float:
    """The one factor on the logits that makes these labels' cells likeliest: 1 / temperature."""
    from scipy.optimize import brentq

    counts, sums, of_cases, positives = _gathered(sample, labels)
    filled = counts > 0
    count, logit = counts[filled], sums[filled] / counts[filled]
    if not positives or positives == count.sum():
        return 1.0

    def slope(log_scale: float) -> float:  # of the log-likelihood, falling as the scale rises
        return of_cases - float((count * logit) @ sigmoid(np.exp(log_scale) * logit))

    low, high = np.log(_SCALES)
    if slope(low) <= 0 or slope(high) >= 0:
        return _SCALES[0] if slope(low) <= 0 else _SCALES[1]
    return float(np.exp(brentq(slope, low, high, xtol=1e-15)))


def _gathered(
    sample: Sample, labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, int]:
    """Count these labels' cells in narrow bins of logit, and sum their logits and the cases'."""
    width = int(2 * _EDGE * _STEPS) + 1
    counts, sums = np.zeros(width), np.zeros(width)
    of_cases, positives = 0.0, 0
    for rows in row_blocks(sample.scores.shape):
        cells = sample.observed[rows] & labels
        logit = np.clip(sample.scores[rows][cells].astype(np.float64), -_EDGE, _EDGE)
        index = np.rint((logit + _EDGE) * _STEPS).astype(np.int64)
        counts += np.bincount(index, minlength=width)
        sums += np.bincount(index, logit, minlength=width)
        case = sample.cases[rows][cells]
        of_cases += float(logit[case].sum())
        positives += int(np.count_nonzero(case))
    return counts, sums, of_cases, positives
