"""Two models' logits added up, so that the sum is a log-odds again.

A weight shares the sum out between the two, after each label's logits were brought to a common
spread; it is chosen by macro AUROC on validation. A sum of standardized logits is no log-odds: it
has lost how frequent each label is, and varies too little, as two models that are both right in
part are moderate together. So the label's mean and spread (each the weighted mean of those of the
two models) are given back, and three numbers for the whole outcome are fitted to validation by
maximum likelihood: a slope for what sets an admission apart within its label, one for the labels'
means, and an intercept. No number is fitted to the cases of a single label, which may be few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.data.outcomes import Outcome
from tasks.measures.logistic import sigmoid
from tasks.measures.ranking import macro_auroc
from tasks.measures.sample import row_blocks

WEIGHTS = tuple(tenths / 10 for tenths in range(11))  # of the second model
UNCALIBRATED = (1.0, 1.0, 0.0)
PULL = 1.0  # towards UNCALIBRATED: a Gaussian prior of this precision keeps every fit finite

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """How a model's logits are spread over the admissions, label by label."""

    mean: Floats  # [labels]
    deviation: Floats  # [labels]; 0: the same for every admission. Classes share one

    @classmethod
    def of(cls, logits: Floats, *, one_of: bool) -> Spread:
        """Of the logits of a split, [admissions, labels].

        >>> Spread.of(np.array([[0.0, 1.0], [2.0, 1.0]]), one_of=False)
        Spread(mean=array([1., 1.]), deviation=array([1., 0.]))
        """
        if not len(logits):
            return cls(np.zeros(logits.shape[1]), np.zeros(logits.shape[1]))
        deviation = logits.std(axis=0)
        if one_of:  # a factor for each class would change what the softmax makes of the others
            deviation = np.full_like(deviation, np.sqrt(np.square(deviation).mean()))
        return cls(logits.mean(axis=0), deviation)


@dataclass(frozen=True)
class Blend:
    """A weighted sum of two models' logits for an outcome, and its calibration."""

    weight: float  # of the second model; the first has the rest
    first: Spread
    second: Spread
    one_of: bool
    calibration: tuple[float, float, float] = UNCALIBRATED  # slopes of `parts`, intercept

    def logits(self, first: Floats, second: Floats) -> NDArray[np.float32]:
        """The sum of these logits, [admissions, labels]."""
        apart, means = self.parts(first, second)
        slope, of_means, intercept = self.calibration
        return (slope * apart + of_means * means + intercept).astype(np.float32)

    def parts(self, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """What sets each admission apart, [admissions, labels], and the labels' means, [labels].

        A model that says the same of every admission has no say in that label.
        """
        varies = self.first.deviation > 0, self.second.deviation > 0
        weights = np.where(varies[1], np.where(varies[0], self.weight, 1.0), 0.0)
        spread = (1 - weights) * self.first.deviation + weights * self.second.deviation
        apart = (1 - weights) * _standardized(first, self.first)
        apart += weights * _standardized(second, self.second)
        return spread * apart, (1 - weights) * self.first.mean + weights * self.second.mean


def fit_blend(outcome: Outcome, first: Floats, second: Floats) -> Blend:
    """Choose the weight and fit the calibration on validation.

    Of equal weights the smallest is taken: the first model alone where the second does not help.

    Args:
        outcome: lined up with the validation admissions.
        first, second: their `comparable` logits, [admissions, labels].
    """
    rows = np.arange(len(first))
    positives, observed = outcome.positives(rows), outcome.observed(rows)
    one_of = outcome.one_of
    spreads = Spread.of(first, one_of=one_of), Spread.of(second, one_of=one_of)

    def auroc(blend: Blend) -> float:
        scores = outcome.rankable(blend.logits(first, second))
        return float(np.nan_to_num(macro_auroc(scores, positives, observed), nan=-1.0))

    blend = max((Blend(weight, *spreads, one_of) for weight in WEIGHTS), key=auroc)
    parts = blend.parts(first, second)
    return replace(blend, calibration=_calibrated(*parts, positives, observed, one_of=one_of))


def comparable(logits: NDArray[np.float32], *, one_of: bool) -> Floats:
    """Logits that may be added up and standardized: of classes, their log-probabilities.

    >>> comparable(np.array([[7.0, 7.0]], np.float32), one_of=True).round(3)
    array([[-0.693, -0.693]])
    """
    exact = logits.astype(np.float64)
    if one_of:  # known up to a constant an admission only
        exact -= np.logaddexp.reduce(exact, axis=1, keepdims=True)
    return exact


def _standardized(logits: Floats, spread: Spread) -> Floats:
    return (logits - spread.mean) / np.where(spread.deviation > 0, spread.deviation, 1.0)


def _calibrated(
    apart: Floats,
    means: Floats,
    positives: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    *,
    one_of: bool,
) -> tuple[float, float, float]:
    """The likeliest slopes and intercept; UNCALIBRATED where the slope within labels would fall."""
    from scipy.optimize import minimize

    known = observed.any(axis=1)
    parts = apart[known], means, positives[known], observed[known]
    fitted = minimize(
        partial(_loss, parts=parts, one_of=one_of), UNCALIBRATED, jac=True, method="BFGS"
    ).x
    slope, of_means, intercept = map(float, fitted)
    return (slope, of_means, intercept) if slope > 0 else UNCALIBRATED


def _loss(
    at: Floats,
    parts: tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]],
    *,
    one_of: bool,
) -> tuple[float, Floats]:
    """The negative log-likelihood of the observed cells, with the prior, and its gradient."""
    apart, means, positives, observed = parts
    off = at - UNCALIBRATED
    loss, gradient = 0.5 * PULL * float(off @ off), PULL * off
    for rows in row_blocks(apart.shape):
        logits = at[0] * apart[rows] + at[1] * means + at[2]
        if one_of:
            logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
            chances = np.exp(logits)
            loss -= float(logits[positives[rows]].sum())
        else:
            chances = sigmoid(logits)
            cells = np.logaddexp(0, logits) - positives[rows] * logits
            loss += float(cells[observed[rows]].sum())
        residuals = np.where(observed[rows], chances - positives[rows], 0.0)
        by_label = residuals.sum(axis=0)
        within = np.vdot(residuals, apart[rows])
        gradient += np.array([within, by_label @ means, by_label.sum()])
    size = max(1, len(apart))  # so that the same gradient is small for few admissions and many
    return loss / size, gradient / size
