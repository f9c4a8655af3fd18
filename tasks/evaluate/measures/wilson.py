"""The interval of a value between 0 and 1, from its variance: Wilson's, of an effective number.

A value v with variance V is known as well as a share of n = v (1 - v) / V independent trials; its
interval is Wilson's score interval of such a share (J. Am. Stat. Assoc. 22:209-212, 1927), with
Student's quantile. Franco et al. (J. Surv. Stat. Methodol. 7:334-364, 2019) find it the best of
seven for shares of clustered samples, and Schüürhuis et al. (Biom. J. 67:e70096, 2025) take the
AUROC's variance to change with the AUROC as it does here. It stays inside 0 and 1 and is longer
towards 0.5, where the truth is more likely to be.

Two limits hold what few patients with an AUROC near 1 would otherwise stretch far beyond all that
the sample shows:

- The distance from the end is due to one patient at least, and the exact interval of one event
  ends at 5.57 times what was seen (Garwood, Biometrika 28:437-442, 1936).
- However skewed, an estimate whose distribution has one peak lies within 2.98 standard errors in
  95% of times (Vysochanskij & Petunin, Theory Probab. Math. Stat. 21:25-36, 1980), where a normal
  one lies within 1.96: no interval is longer than in this ratio to Student's.
"""

from __future__ import annotations

import math

Z = 1.959963984540054  # the normal distribution's 97.5th percentile
ONE_EVENT = 5.571643390938  # the upper limit of Poisson's mean, one event seen: chi2(4) / 2
ASSUMED = 2  # degrees of freedom given to what a model expects: a patient on either side
ONE_PEAK = 2 / (3 * math.sqrt(0.05))  # 1 - 4 / (9 k^2) = 0.95


def score_interval(
    value: float, error: float, degrees: float, expected: float = 0.0
) -> tuple[float, float]:
    """The ends of the 95% interval.

    Args:
        value: above 0 and below 1.
        error, degrees: its standard error, and the degrees of freedom of that.
        expected: the variance that a model expects, to count as ASSUMED degrees; 0: of none.

    >>> low, high = score_interval(0.9, 0.03, math.inf)  # as 90 of 100
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    if not error > 0:
        return value, value
    away = 1 - value if value < 0.5 else value  # from the end that is farther
    near = _wilson(away, error**2, quantile(degrees))[1]
    variance = error**2
    if expected > 0 and not math.isinf(degrees):
        variance = (degrees * variance + ASSUMED * expected) / (degrees + ASSUMED)
        degrees += ASSUMED
    width = quantile(degrees)
    far = max(
        _wilson(away, variance, width)[0],
        near - 2 * ONE_PEAK / Z * width * error,
        1 - ONE_EVENT * (1 - away),
    )
    return (1 - near, 1 - far) if value < 0.5 else (far, near)


def _wilson(value: float, variance: float, width: float) -> tuple[float, float]:
    """Wilson's score interval, of so many standard errors either way."""
    squared = width**2 * variance / (value * (1 - value))  # width^2 over the number of trials
    middle = value + squared / 2
    half = math.sqrt(squared * (value * (1 - value) + squared / 4))
    return (middle - half) / (1 + squared), (middle + half) / (1 + squared)


def quantile(degrees: float) -> float:
    """Student's t's 97.5th percentile, or the normal distribution's (degrees: inf)."""
    from scipy.special import stdtrit

    return Z if math.isinf(degrees) else float(stdtrit(degrees, 0.975))
