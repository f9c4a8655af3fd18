"""Whether an order of a text's words is that in which a model needs them: deletion and insertion.

Let p(S) be the probability that a model gives a label when it reads the words S of a text alone,
and T(f) the first share f of the text's n words in some order. The area under the deletion curve
is the integral of p(all but T(f)) over f from 0 to 1, that under the insertion curve the integral
of p(T(f)) (Petsiuk et al. 2018, RISE), both by the trapezoidal rule over steps of a tenth.

p(all) less the area under the deletion curve is, but for the rule, the comprehensiveness of
DeYoung et al. (2020, ERASER), averaged over tenths, and p(all) less the area under the insertion
curve their sufficiency. Of words in a random order both areas are the same in the mean: an order
run backwards is as random, and turns the one curve into the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate

STEPS = 10


def areas(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """The areas under curves [..., STEPS + 1] of probabilities at shares of 0, 0.1, ..., 1.

    >>> areas(np.array([np.linspace(1, 0, STEPS + 1), np.ones(STEPS + 1)])).round(3).tolist()
    [0.5, 1.0]
    """
    return np.trapezoid(curves.astype(np.float64), dx=1 / STEPS, axis=-1)


def mean(values: NDArray[np.float64]) -> Estimate:
    """The mean of values, one a case, with each one's influence on it, [cases].

    >>> mean(np.array([0.2, 0.4])).influence.round(3).tolist()
    [-0.05, 0.05]
    """
    value = float(values.mean())
    return Estimate(value, (values - value) / len(values))
