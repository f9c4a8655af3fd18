"""Who has a label and who lacks it, beside what counting patient by patient gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.clusters import Clusters

Drawn = tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray | None]]]


@st.composite
def _drawn(draw: st.DrawFn) -> Drawn:
    """Patients, their groups, and labels: who has each and where it is observed (None: always)."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 40))
    patients = random.integers(0, draw(st.integers(1, 12)), rows)
    patients = np.unique(patients, return_inverse=True)[1]
    group = np.unique(random.integers(0, 3, rows), return_inverse=True)[1]
    labels: list[tuple[np.ndarray, np.ndarray | None]] = []
    for share in draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=4)):
        observed = random.random(rows) < 0.7 if draw(st.booleans()) else None
        seen = np.ones(rows, bool) if observed is None else observed
        labels.append((np.flatnonzero(seen & (random.random(rows) < share)), observed))
        labels += labels[-1:] * draw(st.integers(0, 1))  # the same again, from what is kept
    return patients, group, labels


@settings(deadline=None, max_examples=200)
@given(_drawn())
def test_the_sides_are_those_of_counting(drawn: Drawn) -> None:
    patients, group, labels = drawn
    clusters = Clusters(patients, group)
    for rows, observed in labels:
        sides = clusters.sides(rows, observed)
        effective = sides.effective()
        seen = np.ones(len(patients), bool) if observed is None else observed
        case = np.zeros(len(patients), bool)
        case[rows] = True
        rarer = []
        for one in range(clusters.groups):
            there = seen & (group == one)
            cases, controls = (
                np.unique(patients[there & side], return_counts=True) for side in (case, ~case)
            )
            assert (sides.cases[one], sides.controls[one]) == (len(cases[0]), len(controls[0]))
            for counted, of_side in zip((cases[1], controls[1]), effective, strict=True):
                kish = counted.sum() ** 2 / max(1, (counted**2).sum())
                np.testing.assert_allclose(of_side[one], kish, rtol=1e-12)
            fewer = cases[0] if len(cases[0]) <= len(controls[0]) else controls[0]
            rarer += [(int(patient), one) for patient in fewer]
        who = {
            (int(patients[row]), int(group[row]))
            for row in range(len(patients))
            if clusters.cluster[row] in sides.rarer()
        }
        assert who == set(rarer)
        assert len(sides.rarer()) == len(rarer)
