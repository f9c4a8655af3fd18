"""Invasive ventilation: who gets it, for how long, and the best prediction of a long course."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from tasks.synth import draws
from tasks.synth.catalog import VENTILATION, Catalog
from tasks.synth.latent import SEVERITIES, Admissions, Floats
from tasks.synth.truth import Posterior

OUTCOME, PROLONGED = "ventilation", "prolonged"
COHORT_DAYS = 2.0  # the outcome is asked of those ventilated for at least this long
# the published rule (clinicalXLNet): last end + 0.25 d >= first start + 7 d
LONG_DAYS = 6.75
_MEDIAN_DAYS = (1.5, 3.0, 7.0)  # [severity], from first start to last end
_SPREAD = 0.8  # of the logarithm
_LONGEST_DAYS = 45.0
_PAUSED = (0.7, 0.92)  # below: one interval; two; above: three
_LONG_PAUSE_FROM = 4 * 1440  # minutes; a longer course may pause for more than 14 hours
_LONG_PAUSE_SHARE = 0.3


def causes(catalog: Catalog) -> tuple[tuple[int, float], ...]:
    """The conditions that lead to ventilation, with their chances."""
    return next((p.causes for p in catalog.procedures if p.name == VENTILATION), ())


def chance(catalog: Catalog, present: NDArray[np.bool_]) -> Floats:
    """P(ventilated | conditions), [admissions]."""
    without = np.ones(len(present))
    for condition, share in causes(catalog):
        without *= np.where(present[:, condition], 1 - share, 1.0)
    return 1 - without


def draw(seed: int, admissions: Admissions, chances: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Who is ventilated, and the days from first start to last end, [admissions] each."""
    # the same draw as for the procedure's code, so that the two agree
    ventilated = draws.uniforms(seed, VENTILATION, admissions.key, 1)[:, 0] < chances
    noise = draws.normals(seed, "tube", admissions.key, 1)[:, 0]
    days = np.array(_MEDIAN_DAYS)[admissions.severity] * np.exp(_SPREAD * noise)
    return ventilated, np.where(ventilated, np.minimum(days, _LONGEST_DAYS), 0.0)


def share_over(days: float) -> Floats:
    """P(a course lasts longer | severity), [severities]."""
    return 1 - ndtr(np.log(days / np.array(_MEDIAN_DAYS)) / _SPREAD)


def quantiles(count: int) -> Floats:
    """Equally likely lengths of a course in days, [severities, count]."""
    middle = (np.arange(count) + 0.5) / count
    days = np.array(_MEDIAN_DAYS)[:, None] * np.exp(_SPREAD * ndtri(middle))
    return np.minimum(days, _LONGEST_DAYS)


def full_of_prolonged(admissions: Admissions) -> Floats:
    """P(prolonged | the severity; ventilated for COHORT_DAYS), [admissions]."""
    return (share_over(LONG_DAYS) / share_over(COHORT_DAYS))[admissions.severity]


def best_of_prolonged(known: Posterior, catalog: Catalog) -> Floats:
    """P(prolonged | evidence; ventilated for COHORT_DAYS), [admissions].

    Being ventilated that long says much about the state, so the states are reweighted.
    """
    without = np.ones(known.state.shape)
    for condition, share in causes(catalog):
        without *= 1 - share * known.of_condition(condition)
    weight = known.state * (1 - without)
    profiles = known.state.shape[1] // SEVERITIES
    cohort = weight @ np.tile(share_over(COHORT_DAYS), profiles)
    long = weight @ np.tile(share_over(LONG_DAYS), profiles)
    return long / np.maximum(cohort, 1e-300)


def intervals(minutes: int, uniform: Floats) -> list[tuple[int, int]]:
    """Cut a course into charted intervals (first, last minute); five draws.

    >>> intervals(6000, np.array([0.5, 0.5, 0.5, 0.5, 0.5]))
    [(0, 6000)]
    >>> intervals(6000, np.array([0.8, 0.5, 0.5, 0.5, 0.5]))
    [(0, 3000), (3187, 6000)]
    """
    if minutes < 1440 or uniform[0] < _PAUSED[0]:
        return [(0, minutes)]
    pauses = [(int(minutes * (0.3 + 0.4 * uniform[1])), float(uniform[2]))]
    if uniform[0] >= _PAUSED[1]:
        pauses = [(pauses[0][0] // 2, pauses[0][1]), (int(minutes * 0.75), float(uniform[3]))]
    long = minutes > _LONG_PAUSE_FROM and uniform[4] < _LONG_PAUSE_SHARE
    starts, ends = [0], []
    for at, u in pauses:
        ends.append(at)
        starts.append(at + (int(900 + 500 * u) if long else int(15 + 345 * u)))
        long = False
    return list(zip(starts, [*ends, minutes], strict=True))
