"""Places among the cases' scores: what a binary search finds, however the scores are spread."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.measures.gaps import Gaps

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("count", [0, 1, 2, 50, 5000])
@pytest.mark.parametrize(
    "spread", ["even", "tied", "one far off", "denormal", "over all magnitudes", "extremes"]
)
def test_places_are_those_of_a_binary_search(spread: str, count: int) -> None:
    random = np.random.default_rng(count)
    drawn = random.normal(size=count + 3000)
    made = {
        "even": drawn,
        "tied": np.round(3 * drawn),
        "one far off": np.append(drawn, 1e30)[::-1],
        "denormal": 1e-40 * drawn,
        "over all magnitudes": np.sign(drawn) * np.exp(np.clip(30 * drawn, -80, 80)),
        "extremes": random.choice([-LARGEST, -1e-45, -0.0, 0.0, 1.0, LARGEST], len(drawn)),
    }
    scores = made[spread].astype(np.float32)
    distinct = np.unique(scores[:count])
    below, upto = (np.searchsorted(distinct, scores, side) for side in ("left", "right"))
    np.testing.assert_array_equal(Gaps.among(distinct).levels(scores), below + upto)
