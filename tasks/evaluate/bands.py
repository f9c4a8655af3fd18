"""Bands of label frequency: how many training admissions had the label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# (fewest, name): the last one whose fewest is reached
BANDS = (
    (0, "cases=0"),
    (1, "cases=1-24"),
    (25, "cases=25-99"),
    (100, "cases=100-999"),
    (1000, "cases=1000+"),
)
NAMES = tuple(name for _, name in BANDS)


def bands_of(cases: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index into NAMES of each label's band; [labels].

    >>> [NAMES[band] for band in bands_of(np.array([24, 25, 40_000]))]
    ['cases=1-24', 'cases=25-99', 'cases=1000+']
    """
    return np.searchsorted([fewest for fewest, _ in BANDS], cases, "right") - 1
