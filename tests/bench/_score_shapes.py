"""Labels alone, whose scores have many shapes: how intervals do where scores are not normal.

A score of a case or a control is a function of a standard normal variable, half of whose variance
is the patient's; the shift of the cases is solved for the AUROC that is wanted, so the truth is
exact. Each label has some patients with it, in 1 to 3 admissions, among others without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.measures.auroc import label_aurocs
from tasks.measures.bootstrap import cluster_bootstrap
from tasks.measures.intervals import Interval, label_interval
from tasks.measures.sample import Sample
from tasks.measures.wilson import Z

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
OTHERS = 300  # patients without the label, with 2 admissions each
GRID = 20_001  # points of the quadrature that gives a shape's AUROC


@dataclass(frozen=True)
class Shape:
    """How scores follow from standard normal variables."""

    name: str
    score: Callable[[Floats], Floats]  # rising
    case: Callable[[Floats, float], Floats]  # of the variable and the shift
    outlying: float = 0.0  # share of the cases that rank like a low control

    def cases(self, normal: Floats, outlying: NDArray[np.bool_], shift: float) -> Floats:
        """The scores of cases."""
        return np.where(outlying, self.score(normal - 1.5), self.case(normal, shift))

    def auroc(self, shift: float) -> float:
        """The chance that a case ranks above a control, ties counting half."""
        grid = _normal_grid()
        control = np.sort(self.score(grid))
        usual, outlying = (
            sum(np.searchsorted(control, scores, side).mean() for side in ("left", "right"))
            for scores in (self.case(grid, shift), self.score(grid - 1.5))
        )
        return float((1 - self.outlying) * usual + self.outlying * outlying) / (2 * GRID)


def _spread(normal: Floats, shift: float) -> Floats:
    return 2 * normal + shift


def _shifted(score: Callable[[Floats], Floats]) -> Callable[[Floats, float], Floats]:
    return lambda normal, shift: score(normal) + shift


def _same(normal: Floats) -> Floats:
    return normal


def _heavy(normal: Floats) -> Floats:
    from scipy.special import ndtr, stdtrit

    return np.asarray(stdtrit(3, np.clip(ndtr(normal), 1e-9, 1 - 1e-9)))


def _to_the_left(normal: Floats) -> Floats:
    return -np.exp(-normal)


def _of_five(normal: Floats) -> Floats:
    return np.clip(np.round(normal), -1, 3)


SHAPES = (
    Shape("normal", _same, _shifted(_same)),
    Shape("cases twice as spread", _same, _spread),
    Shape("heavy tails (t3)", _heavy, _shifted(_heavy)),
    Shape("skewed to the right", np.exp, _shifted(np.exp)),
    Shape("skewed to the left", _to_the_left, _shifted(_to_the_left)),
    Shape("five distinct scores", _of_five, lambda normal, shift: _of_five(normal + shift)),
    Shape("1 case in 10 outlying", _same, _shifted(_same), outlying=0.1),
)


@dataclass(frozen=True)
class Labels:
    """Labels of one size and one AUROC, with the same patients."""

    scores: NDArray[np.float32]  # [admissions, labels]
    cases: NDArray[np.bool_]  # [admissions]
    patients: Ints  # [admissions]

    @classmethod
    def draw(
        cls, shape: Shape, auroc: float, patients: int, labels: int, random: np.random.Generator
    ) -> Labels:
        """Draw labels that so many patients have."""
        with_label = np.repeat(np.arange(patients), random.integers(1, 4, patients))
        others = np.repeat(np.arange(patients, patients + OTHERS), 2)
        owner = np.concatenate([with_label, others])
        cases = owner < patients
        shared = random.standard_normal((patients + OTHERS, labels))[owner]
        normal = np.sqrt(0.5) * (shared + random.standard_normal(shared.shape))
        outlying = (random.random((patients, labels)) < shape.outlying)[with_label]
        scores = np.empty(normal.shape)
        scores[cases] = shape.cases(normal[cases], outlying, shift_of(shape, auroc))
        scores[~cases] = shape.score(normal[~cases])
        return cls(scores.astype(np.float32), cases, owner)

    @property
    def mirrored(self) -> Labels:
        """The same AUROCs of labels that so few patients lack."""
        return Labels(-self.scores, ~self.cases, self.patients)

    @property
    def with_an_outlier(self) -> Labels:
        """The same, the first patient's cases below all controls."""
        scores = self.scores.copy()
        scores[self.cases & (self.patients == 0)] = scores.min(axis=0) - 1
        return Labels(scores, self.cases, self.patients)

    def intervals(self) -> list[Interval]:
        """Each label's, as a report has it."""
        found = label_aurocs(Sample.of(*self._cells))
        sizes = found.case_patients, found.control_patients
        columns = (column.tolist() for column in (found.auroc, found.standard_error, *sizes))
        return [label_interval(*one) for one in zip(*columns, strict=True)]

    def plain_intervals(self) -> list[tuple[float, float]]:
        """Each label's normal, linear interval."""
        found = label_aurocs(Sample.of(*self._cells))
        half = Z * found.standard_error
        return list(zip(found.auroc - half, found.auroc + half, strict=True))

    def widths_over_bootstrap(self, draws: int, random: np.random.Generator) -> list[float]:
        """Of each label with an interval, its width over that of the cluster bootstrap's."""
        labels = np.arange(self.scores.shape[1])
        sample = Sample.of(*self._cells, groups=labels)
        drawn = cluster_bootstrap(sample, draws, int(random.integers(2**31)))
        peers = [drawn.macro([label]).bounds for label in labels]
        pairs = zip(self.intervals(), peers, strict=True)
        return [(one.high - one.low) / (high - low) for one, (low, high) in pairs if not one.reason]

    @property
    def _cells(self) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], Ints]:
        cases = np.repeat(self.cases[:, None], self.scores.shape[1], axis=1)
        return self.scores, cases, np.ones_like(cases), self.patients


@cache
def shift_of(shape: Shape, auroc: float) -> float:
    """The shift of the cases that gives a shape this AUROC."""
    from scipy.optimize import brentq

    return float(brentq(lambda shift: shape.auroc(shift) - auroc, -20, 200, xtol=1e-6))


@cache
def _normal_grid() -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri((np.arange(GRID) + 0.5) / GRID))
