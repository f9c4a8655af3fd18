"""How far predicted probabilities can be taken at their word: Brier, ECE, slope and intercept.

The calibration slope is that of the logistic regression of the outcome on the logit (1: neither
over- nor underconfident); the calibration intercept is that of the same regression with the slope
held at 1, calibration-in-the-large (0: neither over- nor underestimated). Van Calster et al.,
J Clin Epidemiol 74:167-176, 2016, and BMC Medicine 17:230, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.measures.columns import Column, by_column
from tasks.measures.influences import standard_error
from tasks.measures.label_lines import refined_offset, refined_slope
from tasks.measures.logistic import Cells, Line, fit_line, fit_offset, of_cases, overlaps, sigmoid
from tasks.measures.ranks import ascending, sortable
from tasks.measures.recalibration import Recalibration
from tasks.measures.reliability import Reliability
from tasks.measures.sample import Sample
from tasks.measures.small_samples import FEWEST_PATIENTS

ECE_BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The calibration of some labels; NaN for the others, and where a value is not defined."""

    labels: NDArray[np.int64]  # those that were measured
    influence: Floats  # [groups, admissions] on the sum of the Brier scores of the group's labels
    reliability: Reliability  # of all observed cells of the labels
    brier: Floats  # [all labels] mean squared distance of probability and outcome
    brier_error: Floats  # [all labels] standard errors, clustered by patient; NaN: too few of them
    ece: Floats  # [all labels] expected calibration error; biased upwards, so without an interval
    slope: Floats  # [all labels]; NaN: cases and controls do not overlap
    slope_error: Floats
    intercept: Floats  # [all labels]
    intercept_error: Floats


def calibration(
    sample: Sample, labels: NDArray[np.int64], lines: Sequence[Recalibration]
) -> list[Calibration]:
    """Measure these labels, their logits first taken through each of the lines; [lines].

    A label is read once for all lines. Its regression on the logits is the same under each, but
    for the scale of its slope.

    Args:
        sample: its scores are the logits as predicted.
        labels: those to measure; each with a case and a control.
        lines: what is done to the logits; `unchanged` for the probabilities as predicted.

    >>> logits = np.log([[3.0], [3.0], [3.0], [1 / 3], [1 / 3], [1 / 3]])  # 0.75, 0.25
    >>> sample = Sample.of(logits, [[1], [1], [0], [1], [0], [0]])  # a share of 2 / 3, 1 / 3
    >>> from tasks.measures.recalibration import unchanged
    >>> (predicted,) = calibration(sample, np.array([0]), [unchanged(1)])
    >>> predicted.brier.round(4), predicted.slope.round(4)  # (4 + 2 * 9) / 16 / 6, log(2) / log(3)
    (array([0.2292]), array([0.6309]))
    """
    columns = np.full((len(lines), 7, sample.labels), np.nan)
    start, offsets = _binned_fits(sample, labels, lines)

    def work(label_columns: Iterator[Column]) -> list[_Part]:
        influences = np.zeros((len(lines), sample.n_groups, sample.admissions))
        parts = list(map(_Part, lines, columns, influences))
        for column in label_columns:
            label = column.label
            cells = _Cells.of(sample.patients, column)
            fitted = np.full(2, np.nan)
            if overlaps(column.scores, column.cases):
                begin = float(start.slope[label]), float(start.intercept[label])
                slope, influence = refined_slope(cells.scores, column.cases, begin)
                fitted[:] = slope, cells.standard_error(influence)
            for part, offset in zip(parts, offsets[:, label].tolist(), strict=True):
                part.columns[3:5, label] = fitted / part.line.slope[label]
                part.add(column, cells, offset, sample.groups[label])
        return parts

    done = by_column(work, sample, labels)
    return [
        Calibration(
            labels,
            first.influence + second.influence,
            first.reliability.plus(second.reliability),
            *first.columns,
        )
        for first, second in zip(*done, strict=True)
    ]


@dataclass
class _Part:
    """What one part of the labels adds up under one line."""

    line: Recalibration
    columns: Floats  # [7, all labels], as Calibration ends; of all parts
    influence: Floats  # [groups, admissions]
    reliability: Reliability = field(default_factory=Reliability)

    def add(self, column: Column, cells: _Cells, offset: float, group: int) -> None:
        """Measure a label, but for its slope; its calibration intercept is near the offset."""
        to, line = self.columns[:, column.label], self.line
        slope, intercept = line.slope[column.label], line.intercept[column.label]
        logit = slope * cells.scores + intercept
        chance = sigmoid(logit)
        apart = chance - column.cases
        np.square(apart, out=apart)
        to[0] = brier = float(apart.mean())
        apart -= brier
        apart /= len(apart)
        to[1] = cells.standard_error(apart)
        self.influence[group, cells.rows] += apart
        to[2] = cells.bins.error(slope, intercept)
        to[5], influence = refined_offset(logit, column.cases, offset)
        to[6] = cells.standard_error(influence)
        self.reliability.add(logit, chance, column.cases)


@dataclass(frozen=True)
class EqualMass:
    """One label's scores in bins of about equal mass: the same under every rising line.

    Naeini et al., AAAI 2015, with ECE_BINS bins of equal mass (Nixon et al. 2019), fewer where
    there are fewer admissions; a run of equal logits is never split between bins.

    >>> logits = np.array([-5.0, -5.0, 5.0, 5.0])
    >>> round(EqualMass.of(logits, np.array([False, False, True, False])).error(), 4)
    0.25
    """

    ranked: Floats  # [observed] the scores, rising
    edges: NDArray[np.int64]  # [bins] where each begins
    cases: NDArray[np.int64]  # [bins]

    @classmethod
    def of(cls, scores: NDArray[np.floating], cases: NDArray[np.bool_]) -> EqualMass:
        # float32 by 16 bits at a time, in half the time
        single = scores.dtype == np.float32
        ranked = scores[ascending(sortable(scores))] if single else np.sort(scores)
        with_label = np.sort(scores[cases])
        cuts = np.arange(1, ECE_BINS) * len(ranked) // ECE_BINS
        edges = np.unique(np.searchsorted(ranked, ranked[cuts], "left"))
        edges = np.append(0, edges[edges > 0])
        before = np.append(np.searchsorted(with_label, ranked[edges], "left"), len(with_label))
        return cls(ranked.astype(np.float64), edges, np.diff(before))

    def error(self, slope: float = 1.0, intercept: float = 0.0) -> float:
        """The expected calibration error: the mean distance of predicted and observed shares."""
        predicted = np.add.reduceat(sigmoid(slope * self.ranked + intercept), self.edges)
        return float(np.abs(predicted - self.cases).sum() / len(self.ranked))


@dataclass(frozen=True)
class _Cells:
    """One label's observed cells; influences on them are summed within patients."""

    scores: Floats  # [observed]
    bins: EqualMass
    owners: NDArray[np.int64]  # [observed]
    patients: int
    rarer: int  # the patients with the label, or those without it if they are fewer
    rows: NDArray[np.int64] | slice

    @classmethod
    def of(cls, patients: NDArray[np.int64], column: Column) -> _Cells:
        rows = slice(None) if len(column.rows) == len(patients) else column.rows
        owners = patients[rows]
        admissions, cases = np.bincount(owners), np.bincount(owners, column.cases)
        rarer = min(np.count_nonzero(cases), np.count_nonzero(admissions > cases))
        bins = EqualMass.of(column.scores, column.cases)
        total = int(np.count_nonzero(admissions))
        return cls(column.scores.astype(np.float64), bins, owners, total, int(rarer), rows)

    def standard_error(self, influence: Floats) -> float:
        """As `intervals.standard_error`, of one label's observed admissions; NaN of too few."""
        if self.rarer < FEWEST_PATIENTS:
            return float("nan")
        by_patient = np.bincount(self.owners, influence).astype(np.float64, copy=False)
        return standard_error(by_patient, self.patients)


def _binned_fits(
    sample: Sample, labels: NDArray[np.int64], lines: Sequence[Recalibration]
) -> tuple[Line, Floats]:
    """All labels' regression, and the offset under each line, from their binned scores.

    Where the exact fits start; the offsets are [lines, all labels].
    """
    cells = Cells.binned(sample, labels, of_cases)
    fitted = fit_line(cells)
    whole = np.full((2 + len(lines), sample.labels), np.nan)
    whole[:2, labels] = fitted.slope, fitted.intercept
    for to, line in zip(whole[2:], lines, strict=True):
        slope, intercept = line.slope[labels], line.intercept[labels]
        logits = slope[:, None] * cells.scores + intercept[:, None]
        case_logits = slope * cells.case_scores + intercept * cells.cases
        to[labels] = fit_offset(Cells(logits, cells.counts, cells.cases, case_logits))
    return Line(whole[0], whole[1]), whole[2:]
