"""95% intervals that respect patients: influences summed within a patient, then squared.

A patient's admissions are not independent, so the patient is the unit: with P patients and
influence sums c_p, the variance is P/(P-1) * sum(c_p^2) (the linearization, or sandwich,
variance; for one admission a patient it is DeLong's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.auroc import Estimate

Z = 1.959963984540054  # the normal distribution's 97.5th percentile
METHOD = "influence function, clustered by patient"
PAIRED_METHOD = "paired influence functions, clustered by patient"


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval; NaN bounds where the interval is withheld."""

    value: float
    low: float
    high: float
    p_value: float = float("nan")


def interval(
    estimate: Estimate,
    patients: NDArray[np.int64],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """The estimate with its interval, cut at the bounds.

    Args:
        patients: [admissions], whose admission it is, as 0, 1, 2, ...
    """
    half = Z * standard_error(estimate.influence, patients)
    low, high = max(estimate.value - half, bounds[0]), min(estimate.value + half, bounds[1])
    if math.isnan(half) or math.isnan(estimate.value):
        low = high = float("nan")
    return Interval(estimate.value, low, high)


def difference(first: Estimate, second: Estimate, patients: NDArray[np.int64]) -> Interval:
    """First minus second on the same admissions, with the two-sided p-value of no difference.

    The influences are subtracted before they are squared, so what both models find hard cancels.
    Identical predictions give 0 and p = 1.
    """
    apart = Estimate(first.value - second.value, first.influence - second.influence)
    error = standard_error(apart.influence, patients)
    found = interval(apart, patients, (-1.0, 1.0))
    if error > 0:
        p_value = math.erfc(abs(apart.value) / error / math.sqrt(2))
    else:
        p_value = 1.0 if apart.value == 0 else float("nan")
    return Interval(found.value, found.low, found.high, p_value)


def share_of_the_way(model: Estimate, best: Estimate, patients: NDArray[np.int64]) -> Interval:
    """How far the model comes from chance (0.5) to the best reachable AUROC, as a share.

    The ratio (model - 0.5) / (best - 0.5), its interval by the delta method.
    """
    way = best.value - 0.5
    if not way > 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    share = (model.value - 0.5) / way
    ratio = Estimate(share, (model.influence - share * best.influence) / way)
    return interval(ratio, patients, (-math.inf, math.inf))


def standard_error(influence: NDArray[np.float64], patients: NDArray[np.int64]) -> float:
    """The standard error of an estimate whose admissions have these influences.

    Args:
        influence: [admissions]; zero where an admission takes no part.
        patients: [admissions], as 0, 1, 2, ...

    NaN with fewer than two patients.
    """
    by_patient = np.bincount(patients, influence)
    taking_part = np.unique(patients)
    if len(taking_part) < 2:
        return float("nan")
    factor = len(taking_part) / (len(taking_part) - 1)
    return float(np.sqrt(factor * np.square(by_patient).sum()))


def label_interval(auroc: float, error: float) -> tuple[float, float]:
    """A label's interval on the logit scale, which keeps it inside 0 and 1.

    NaN bounds where the standard error is unknown, or the AUROC is 0 or 1 exactly.
    """
    spread = auroc * (1 - auroc)
    if not error > 0 or not spread > 0:
        return float("nan"), float("nan")
    middle, half = math.log(auroc / (1 - auroc)), Z * error / spread
    return _expit(middle - half), _expit(middle + half)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
