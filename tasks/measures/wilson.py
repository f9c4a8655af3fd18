"""The interval of a value between 0 and 1, from its variance: Wilson's, of an effective number.

A value v with variance V is known as well as a share of n = v (1 - v) / V independent trials; its
interval is Wilson's score interval of such a share (J. Am. Stat. Assoc. 22:209-212, 1927), with
Student's quantile. Of eight intervals Franco et al. (J. Surv. Stat. Methodol. 7:334-364, 2019)
recommend it for shares of clustered samples, and Schüürhuis et al. (Biom. J. 67:e70096, 2025) take
the AUROC's variance to change with the AUROC as it does here. It stays inside 0 and 1 and is longer
towards 0.5, where the truth is more likely to be.

Two limits hold what few patients with an AUROC near 1 would otherwise stretch far beyond all that
the sample shows:

- The distance from the end is due to one patient at least, and the mid-P interval of one event of
  Poisson's distribution ends at 4.93 times what was seen (Berry & Armitage, Statistician
  44:417-423, 1995).
- However skewed, an estimate whose distribution has one peak lies within 2.98 standard errors in
  95% of times (Vysochanskij & Petunin, Theory Probab. Math. Stat. 21:25-36, 1980), where a normal
  one lies within 1.96: no interval is longer than in this ratio to Student's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

Z = 1.959963984540054  # the normal distribution's 97.5th percentile
ONE_EVENT = 4.931860524706773  # the x of exp(-x) (1 + x / 2) = 0.025
ONE_PEAK = 2 / (3 * math.sqrt(0.05))  # standard errors: 1 - 4 / (9 k^2) = 0.95


class Spread(NamedTuple):
    """A standard error, and the degrees of freedom of its square."""

    error: float
    degrees: float

    @property
    def width(self) -> float:
        """Half of Student's interval."""
        return quantile(self.degrees) * self.error


def score_interval(
    value: float, spread: Spread, further: Spread | None = None
) -> tuple[float, float]:
    """The ends of the 95% interval.

    Args:
        value: above 0 and below 1.
        further: for the side away from the nearer end, where that is not the same.

    >>> low, high = score_interval(0.9, Spread(0.03, math.inf))  # as 90 of 100
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    if not spread.error > 0:
        return value, value
    spare = min(value, 1 - value)  # how far the nearer end is
    further = further or spread
    near = _reach(spare, spread.width)[0]
    longest = 2 * ONE_PEAK / Z * quantile(further.degrees) * spread.error
    away = min(_reach(spare, further.width)[1], longest - near, (ONE_EVENT - 1) * spare)
    if math.isclose(value, 0.5, rel_tol=1e-12):  # no end is the nearer; rounding may not choose
        near = away = max(near, away)
    return (value - near, value + away) if value < 0.5 else (value - away, value + near)


def _reach(spare: float, width: float) -> tuple[float, float]:
    """How far Wilson's interval goes to the nearer end and away, where Student's has this width."""
    squared = width**2 / (spare * (1 - spare))  # the quantile's square over the number of trials
    half = math.sqrt(squared * (spare * (1 - spare) + squared / 4))
    drawn = squared * (0.5 - spare)  # towards one half
    return min(spare, max(0.0, half - drawn) / (1 + squared)), (half + drawn) / (1 + squared)


def quantile(degrees: float) -> float:
    """Student's t's 97.5th percentile, or the normal distribution's (degrees: inf).

    >>> round(quantile(10), 3), round(quantile(math.inf), 3)
    (2.228, 1.96)
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
