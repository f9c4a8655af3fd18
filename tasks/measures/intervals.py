"""95% intervals that respect patients: influences summed within a patient, then squared.

A patient's admissions are not independent, so the patient is the unit: with P patients and
influence sums c_p, the variance is P/(P-1) * sum(c_p^2), the linearization (sandwich) variance. Of
one label and one admission a patient it is that of DeLong et al. (Biometrics 44:837-845, 1988); of
one label and several admissions that of Obuchowski (Biometrics 53:567-578, 1997).

The interval is Student's t, with degrees of freedom from how many patients there are
(`small_samples.py`). Of a value between 0 and 1 it is a score interval (`wilson.py`). With fewer
than 10 patients it is withheld. `make bench NAME=coverage` shows how often such intervals hold the
truth, and how long they are beside those of the cluster bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.small_samples import (
    FEW_PATIENTS,
    FEWEST_PATIENTS,
    degrees_of_freedom,
    expected_variance,
    reason_to_withhold,
    with_expected,
)
from tasks.measures.wilson import Spread, quantile, score_interval

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
    estimate: Estimate, patients: NDArray[np.int64], bounds: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """The estimate with its interval: a score interval from 0 to 1, else cut at the bounds.

    Args:
        patients: [admissions], whose admission it is, as 0, 1, 2, ...

    >>> mean = interval(Estimate(0.4, np.tile([0.01, -0.01], 10)), np.arange(20), (-1.0, 1.0))
    >>> round(mean.low, 3), round(mean.high, 3)  # 0.4 -+ 2.093 * 0.0459
    (0.304, 0.496)
    """
    error = standard_error(estimate.influence, patients)
    degrees, reason = basis(estimate, patients)
    further = further_of(error, degrees, estimate.expected)
    return interval_of(estimate.value, error, degrees, bounds, reason, further)


def further_of(error: float, degrees: float, expected: float) -> Spread | None:
    """The spread towards 0.5 of an estimate of which a model expects this variance; 0: of none."""
    if not expected > 0:
        return None
    variance, more = with_expected(error**2, degrees, expected)
    return Spread(math.sqrt(variance), more)


def basis(estimate: Estimate, patients: NDArray[np.int64]) -> tuple[float, str]:
    """The degrees of freedom of an estimate's variance, and why it can have no interval.

    An estimate that does not say is a mean over the patients with an influence on it; where none
    has, over all.

    >>> basis(Estimate(0.4, np.tile([0.01, -0.01], 10)), np.arange(20))
    (19.0, '')
    """
    if estimate.degrees is not None:
        return estimate.degrees, estimate.reason
    some = np.count_nonzero(np.bincount(patients, estimate.influence))
    count = int(some) or len(np.unique(patients))
    few = FEW_PATIENTS if count < FEWEST_PATIENTS else ""
    return float(max(count - 1, 1)), estimate.reason or few


def interval_of(
    value: float,
    error: float,
    degrees: float = math.inf,
    bounds: tuple[float, float] = (0.0, 1.0),
    reason: str = "",
    further: Spread | None = None,
) -> Interval:
    """The interval of a value, given its standard error and the degrees of freedom of that.

    Args:
        reason: why it is withheld, where that is known already.
        further: its spread on the side towards 0.5, where that is another; used from 0 to 1.

    >>> ends = interval_of(0.9, 0.03)  # as of 90 of 100
    >>> round(ends.low, 4), round(ends.high, 4)
    (0.8256, 0.9448)
    """
    if reason := _why_unknown(value, error, bounds, reason):
        return Interval(value, _UNKNOWN, _UNKNOWN, reason=reason, degrees=degrees)
    if bounds == (0.0, 1.0):
        low, high = score_interval(value, Spread(error, degrees), further)
    else:
        half = quantile(degrees) * error
        low, high = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Interval(value, low, high, degrees=degrees)


def difference(first: Estimate, second: Estimate, patients: NDArray[np.int64]) -> Interval:
    """First minus second on the same admissions, with the two-sided p-value of no difference.

    The influences are subtracted before they are squared, so what both models find hard cancels.
    Identical predictions give 0 and p = 1.

    >>> first, second = Estimate(0.6, np.tile([0.01, -0.01], 10)), Estimate(0.4, np.zeros(20))
    >>> round(difference(first, second, np.arange(20)).p_value, 4)  # t = 0.2 / 0.0459, 19 degrees
    0.0003
    """
    apart = first.minus(second)
    if apart.value == 0 and not apart.influence.any():
        return Interval(0.0, 0.0, 0.0, 1.0)
    return tested(interval(apart, patients, (-1.0, 1.0)), standard_error(apart.influence, patients))


def tested(apart: Interval, error: float) -> Interval:
    """A difference with the two-sided p-value of none; NaN where its interval is withheld."""
    if apart.reason:
        return apart
    if error > 0:
        return replace(apart, p_value=two_sided(apart.value / error, apart.degrees))
    return replace(apart, p_value=1.0 if apart.value == 0 else _UNKNOWN)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values that are tested together (Holm, Scand. J. Statist. 6:65-70, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def share_of_the_way(model: Estimate, best: Estimate, patients: NDArray[np.int64]) -> Interval:
    """How far the model comes from chance (0.5) to the best reachable AUROC, as a share.

    The ratio (model - 0.5) / (best - 0.5), its interval by the delta method.

    >>> model, best = Estimate(0.75, np.zeros(20)), Estimate(1.0, np.zeros(20))
    >>> share_of_the_way(model, best, np.arange(20)).value
    0.5
    """
    way = best.value - 0.5
    if not way > 0:
        return Interval(_UNKNOWN, _UNKNOWN, _UNKNOWN, reason="the best reachable is no better")
    share = (model.value - 0.5) / way
    influence = (model.influence - share * best.influence) / way
    ratio = replace(model, value=share, influence=influence, reason=model.reason or best.reason)
    return interval(ratio, patients, (-math.inf, math.inf))


def standard_error(influence: NDArray[np.float64], patients: NDArray[np.int64]) -> float:
    """The standard error of an estimate whose admissions have these influences.

    Args:
        influence: [admissions]; zero where an admission takes no part.
        patients: [admissions], as 0, 1, 2, ...

    NaN with fewer than two patients.

    >>> round(standard_error(np.tile([0.01, -0.01], 10), np.arange(20)), 4)  # sqrt(20 / 19 * 0.002)
    0.0459
    """
    by_patient = np.bincount(patients, influence)
    taking_part = np.unique(patients)
    if len(taking_part) < 2:
        return float("nan")
    factor = len(taking_part) / (len(taking_part) - 1)
    return float(np.sqrt(factor * np.square(by_patient).sum()))


def label_interval(
    auroc: float, error: float, case_patients: int, control_patients: int
) -> Interval:
    """A label's interval, as `interval` gives it for an outcome of one label.

    Args:
        case_patients, control_patients: how many patients have the label, and how many lack it.

    >>> label_interval(0.8, 0.05, 9, 60).reason
    'fewer than 10 patients with the label or without it'
    """
    if math.isnan(auroc):
        return interval_of(auroc, error)
    rarer = min(case_patients, control_patients)
    degrees = degrees_of_freedom(case_patients, control_patients)
    expected = expected_variance(auroc, case_patients, control_patients)
    further = further_of(error, degrees, expected)
    return interval_of(
        auroc, error, degrees, reason=reason_to_withhold(rarer, rarer), further=further
    )


def _why_unknown(value: float, error: float, bounds: tuple[float, float], reason: str) -> str:
    if math.isnan(value):
        return reason or "undefined: no case or no control"
    if reason or math.isnan(error):
        return reason or FEW_PATIENTS
    at_an_end = bounds == (0.0, 1.0) and not 0 < value < 1
    return f"the estimate is {value:g} exactly" if at_an_end else ""


def two_sided(statistic: float, degrees: float) -> float:
    """The p-value of Student's t, or of the normal distribution (degrees: inf).

    >>> round(two_sided(-2.228, 10), 3), round(two_sided(1.96, math.inf), 3)
    (0.05, 0.05)
    """
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(statistic)))
