"""Bands of training cases: how often a label was seen decides how well it can be learned."""

from __future__ import annotations

import math

BANDS = ((1, 24), (25, 99), (100, 999), (1000, math.inf))


def band_of(train_cases: int) -> str:
    """The name of the band, as `group` has it in the metrics table.

    >>> [band_of(cases) for cases in (0, 24, 1000)]
    ['cases=0', 'cases=1-24', 'cases=1000+']
    """
    if train_cases <= 0:
        return "cases=0"
    low, high = next((low, high) for low, high in BANDS if low <= train_cases <= high)
    return f"cases={low}+" if high == math.inf else f"cases={low}-{high}"
