"""Taylor's efficiency: how much less arithmetic and fewer parameters a model took than the worst.

The formula is that of the notebook to "Efficiency at scale" (Taylor et al. 2024, arXiv 2402.10597)
that draws its figure; which one the journal prints we could not see. With F the operations of a
training up to its best validation, P the parameters of its adapter, and both put on one scale over
the models, x' = (x - min x) / max x:

    efficiency = max_j (F'_j + P'_j) / (F'_i + P'_i)

So the worst has 1. It depends on which models are compared, and a model that has the least of both
has no finite one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def efficiencies(operations: ArrayLike, parameters: ArrayLike) -> NDArray[np.float64]:
    """The efficiency of each model, [models]; not a number where all take the same.

    >>> efficiencies([4e15, 1e15, 2e15], [100, 50, 10]).round(1).tolist()
    [1.0, 4.1, 6.6]
    """
    spent = _scaled(operations) + _scaled(parameters)
    worst = spent.max(initial=0.0)
    if worst == 0.0:
        return np.full(len(spent), math.nan)
    return np.divide(worst, spent, out=np.full(len(spent), math.inf), where=spent > 0)


def _scaled(values: ArrayLike) -> NDArray[np.float64]:
    """By the largest, not by the range."""
    array = np.asarray(values, np.float64)
    largest = array.max(initial=0.0)
    return (array - array.min(initial=math.inf)) / largest if largest > 0 else np.zeros_like(array)
