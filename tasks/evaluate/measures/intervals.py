"""95% intervals that respect patients: influences summed within a patient, then squared.

A patient's admissions are not independent, so the patient is the unit: with P patients and
influence sums c_p, the variance is P/(P-1) * sum(c_p^2), the linearization (sandwich) variance. Of
one label and one admission a patient it is that of DeLong et al. (Biometrics 44:837-845, 1988); of
one label and several admissions that of Obuchowski (Biometrics 53:567-578, 1997).

The interval is Student's t, with degrees of freedom from how evenly patients carry the variance
(`small_samples.py`). A value between 0 and 1 has it on the logit scale, with standard error
SE / (v (1 - v)) there: it stays inside 0 and 1 and is longer towards 0.5, where the truth is more
likely to be. `make bench NAME=coverage` shows how often such intervals hold the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.measures.auroc import Estimate
from tasks.evaluate.measures.small_samples import (
    FEWEST_CASE_PATIENTS,
    TOO_FEW,
    degrees_of_freedom,
)

Z = 1.959963984540054  # the normal distribution's 97.5th percentile
METHOD = "influence function, clustered by patient"
PAIRED_METHOD = "paired influence functions, clustered by patient"
P_METHOD = "Student's t, two-sided"
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval; NaN bounds where the interval is withheld."""

    value: float
    low: float
    high: float
    p_value: float = float("nan")
    reason: str = ""  # why the interval is withheld
    degrees: float = float("inf")  # of freedom, of Student's t; inf: normal


def interval(
    estimate: Estimate,
    patients: NDArray[np.int64],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """The estimate with its interval: on the logit scale from 0 to 1, else cut at the bounds.

    Args:
        patients: [admissions], whose admission it is, as 0, 1, 2, ...
    """
    error = standard_error(estimate.influence, patients)
    by_patient = np.bincount(patients, estimate.influence).astype(np.float64)
    degrees = degrees_of_freedom(by_patient)
    return interval_of(estimate.value, error, degrees, bounds, estimate.reason)


def interval_of(
    value: float,
    error: float,
    degrees: float = math.inf,
    bounds: tuple[float, float] = (0.0, 1.0),
    reason: str = "",
) -> Interval:
    """The interval of a value, given its standard error and the degrees of freedom of that.

    Args:
        reason: why it is withheld, where that is known already.
    """
    reason = reason or _why_unknown(value, error, bounds)
    if reason:
        return Interval(value, _UNKNOWN, _UNKNOWN, reason=reason, degrees=degrees)
    if bounds == (0.0, 1.0):
        low, high = _on_the_logit_scale(value, error, degrees)
    else:
        half = _quantile(degrees) * error
        low, high = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Interval(value, low, high, degrees=degrees)


def difference(first: Estimate, second: Estimate, patients: NDArray[np.int64]) -> Interval:
    """First minus second on the same admissions, with the two-sided p-value of no difference.

    The influences are subtracted before they are squared, so what both models find hard cancels.
    Identical predictions give 0 and p = 1.
    """
    value, influence = first.value - second.value, first.influence - second.influence
    if value == 0 and not influence.any():
        return Interval(0.0, 0.0, 0.0, 1.0)
    apart = Estimate(value, influence, first.reason or second.reason)
    found = interval(apart, patients, (-1.0, 1.0))
    error = standard_error(influence, patients)
    if found.reason or not error > 0:
        p_value = 1.0 if value == 0 and not found.reason else _UNKNOWN
    else:
        p_value = two_sided(value / error, found.degrees)
    return Interval(value, found.low, found.high, p_value, found.reason, found.degrees)


def share_of_the_way(model: Estimate, best: Estimate, patients: NDArray[np.int64]) -> Interval:
    """How far the model comes from chance (0.5) to the best reachable AUROC, as a share.

    The ratio (model - 0.5) / (best - 0.5), its interval by the delta method.
    """
    way = best.value - 0.5
    if not way > 0:
        return Interval(_UNKNOWN, _UNKNOWN, _UNKNOWN, reason="the best reachable is no better")
    share = (model.value - 0.5) / way
    influence = (model.influence - share * best.influence) / way
    ratio = Estimate(share, influence, model.reason or best.reason)
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


def label_interval(
    auroc: float, error: float, degrees: float = math.inf, case_patients: int | None = None
) -> Interval:
    """A label's interval on the logit scale, as `interval` gives it for an outcome of one label.

    Args:
        error, degrees: its standard error, and the degrees of freedom of that.
        case_patients: how many patients have the label; None: enough.
    """
    few = case_patients is not None and case_patients < FEWEST_CASE_PATIENTS
    return interval_of(auroc, error, degrees, reason=TOO_FEW if few else "")


def _on_the_logit_scale(value: float, error: float, degrees: float) -> tuple[float, float]:
    middle = math.log(value / (1 - value))
    half = _quantile(degrees) * error / (value * (1 - value))
    return _expit(middle - half), _expit(middle + half)


def _why_unknown(value: float, error: float, bounds: tuple[float, float]) -> str:
    if math.isnan(value):
        return "undefined: no case or no control"
    if math.isnan(error):
        return "fewer than two patients"
    at_an_end = bounds == (0.0, 1.0) and not 0 < value < 1
    return f"the estimate is {value:g} exactly" if at_an_end else ""


def _quantile(degrees: float) -> float:
    from scipy.special import stdtrit

    return Z if math.isinf(degrees) else float(stdtrit(degrees, 0.975))


def two_sided(statistic: float, degrees: float) -> float:
    """The p-value of Student's t, or of the normal distribution (degrees: inf)."""
    from scipy.special import stdtr

    if math.isinf(degrees):
        return math.erfc(abs(statistic) / math.sqrt(2))
    return 2 * float(stdtr(degrees, -abs(statistic)))


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
