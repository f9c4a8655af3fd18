"""Newton's method for many small concave functions at once, none of which may run away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 100
_TOLERANCE = 1e-6  # of a whole step in each unknown; the error left is about its square

Floats = NDArray[np.float64]


@np.errstate(divide="ignore", invalid="ignore")  # a step of nothing, and what turns NaN
def climb(point: Floats, slope: Callable[[Floats], tuple[Floats, Floats]]) -> Floats:
    """Newton's steps up to the maximum of concave functions; NaN where it does not end.

    A step that went so far over the top that it is steeper there than half of where it began is
    halved; the longest step allowed doubles as long as none is.

    Args:
        point: [unknowns, labels], where to begin.
        slope: the gradient there and Newton's step, [unknowns, labels] each.

    >>> climb(np.zeros((1, 1)), lambda at: (3.0 - at, 3.0 - at))  # up to the top of -(x - 3)^2 / 2
    array([[3.]])
    """
    taken, promised = np.zeros_like(point), np.full(point.shape[1], np.inf)
    radius, arrived = np.ones(point.shape[1]), np.zeros(point.shape[1], bool)
    for _ in range(_ROUNDS):
        gradient, whole = slope(point)
        back = (gradient * taken).sum(0) < -0.5 * promised
        size = np.abs(whole).max(0)
        step = np.where(back, -taken / 2, whole * np.minimum(1.0, radius / size))
        taken = np.where(back, taken / 2, step)
        promised = np.where(back, promised / 2, (gradient * step).sum(0))
        radius = np.where(back, radius / 2, radius * 2)
        point = np.where(arrived, point, point + step)
        arrived |= (size <= _TOLERANCE) & ~back
        if (arrived | np.isnan(size)).all():
            break
    return np.where(arrived, point, np.nan)
