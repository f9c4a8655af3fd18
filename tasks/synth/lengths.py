"""How long an admission lasts, in four classes, and the best prediction of the class.

The number of acute conditions, ventilation and survival are enumerated together, condition by
condition, so the prediction is exact except for ventilation's length, which has 200 quantiles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tasks.synth import draws, ventilation
from tasks.synth.catalog import Catalog
from tasks.synth.difficulty import Difficulty
from tasks.synth.latent import SEVERITIES, Admissions, Floats, Ints, share_of_last
from tasks.synth.truth import Posterior

OUTCOME = "length_of_stay"
CLASSES = ("<=3", "(3,7]", "(7,14]", ">14")  # days; as in CORE
_BOUNDS = (3.0, 7.0, 14.0)
_BASE, _A_SEVERITY, _AN_ACUTE = 1.6, 1.3, 0.8  # days: base, per severity, per condition
_SPREAD = 0.5  # of the logarithm
_SHORTEST = 0.3
_MOST_ACUTE = 14  # more count as 14: P(more) is below 1e-6 even in the severe


def draw(seed: int, admissions: Admissions, catalog: Catalog, ventilated_days: Floats) -> Floats:
    """Length of stay in days, [admissions]; the days on the ventilator are added."""
    noise = draws.normals(seed, "length", admissions.key, 1)[:, 0]
    usual = _mean(admissions.severity, acute_count(admissions, catalog)) * np.exp(_SPREAD * noise)
    return np.maximum(usual, _SHORTEST) + ventilated_days


def acute_count(admissions: Admissions, catalog: Catalog) -> Ints:
    """How many acute conditions each admission has, [admissions]."""
    acute = np.array([not condition.chronic for condition in catalog.conditions])
    return (admissions.present & acute).sum(1)


def class_of(days: Floats) -> Ints:
    """The class of each length, [admissions].

    >>> class_of(np.array([3.0, 3.1, 7.0, 14.0, 15.0])).tolist()
    [0, 1, 1, 2, 3]
    """
    return np.digitize(days, _BOUNDS, right=True)


def full_of_length(admissions: Admissions, catalog: Catalog) -> Floats:
    """P(class | conditions and severity; discharged alive), [admissions, classes]."""
    table = _class_table()
    count = np.minimum(acute_count(admissions, catalog), _MOST_ACUTE)
    chance = ventilation.chance(catalog, admissions.present)[:, None]
    usual, tube = (table[way, admissions.severity, count] for way in (0, 1))
    return (1 - chance) * usual + chance * tube


def best_of_length(known: Posterior, catalog: Catalog, difficulty: Difficulty) -> Floats:
    """P(class | evidence; discharged alive), [admissions, classes]."""
    everyone, no_tube, alive, alive_no_tube = _counts(known, catalog)
    profiles = known.state.shape[1] // SEVERITIES
    last = share_of_last(difficulty)
    survive = last * np.tile(1 - np.array(difficulty.death_by_severity), profiles)[:, None]
    usual = known.state[:, :, None] * ((1 - last) * no_tube + survive * alive_no_tube)
    either = known.state[:, :, None] * ((1 - last) * everyone + survive * alive)
    table = np.tile(_class_table(), (1, profiles, 1, 1))  # [ways, states, counts, classes]
    classes = np.einsum("rsn,snc->rc", usual, table[0])
    classes += np.einsum("rsn,snc->rc", either - usual, table[1])
    best: Floats = classes / classes.sum(1, keepdims=True)
    return best


def _counts(known: Posterior, catalog: Catalog) -> NDArray[np.float32]:
    """P(count of acute conditions, and ... | evidence, state), [4, admissions, states, counts].

    The four: anything; not ventilated; not killed by a condition; neither.
    """
    tube = dict(ventilation.causes(catalog))
    joint = np.zeros((4, *known.state.shape, _MOST_ACUTE + 1), np.float32)
    joint[..., 0] = 1
    for index, condition in enumerate(catalog.conditions):
        spared, lives = 1 - tube.get(index, 0.0), 1 - condition.death
        if condition.chronic and spared == lives == 1:
            continue
        factor = np.array([1.0, spared, lives, spared * lives], np.float32).reshape(4, 1, 1, 1)
        chance = known.of_condition(index).astype(np.float32)[None, :, :, None]
        have = joint * (factor * chance)
        joint *= 1 - chance
        if condition.chronic:
            joint += have
        else:
            joint[..., 1:] += have[..., :-1]
            joint[..., -1] += have[..., -1]
    return joint


def _class_table() -> Floats:
    """P(class | ventilation, severity, acute count), [2, severities, counts, classes]."""
    severity = np.arange(SEVERITIES)[:, None]
    mean = _mean(severity, np.arange(_MOST_ACUTE + 1)[None, :])[..., None]
    tube = ventilation.quantiles(200)[:, None, :]
    below = np.zeros((2, SEVERITIES, _MOST_ACUTE + 1, len(_BOUNDS)))
    for column, bound in enumerate(_BOUNDS):
        for way, taken in enumerate((np.zeros((SEVERITIES, 1, 1)), tube)):
            left = np.maximum(bound - taken, 1e-9)
            shorter = ndtr(np.log(left / mean) / _SPREAD) * (left >= _SHORTEST)
            below[way, ..., column] = shorter.mean(-1)
    edges = np.concatenate([np.zeros_like(below[..., :1]), below, np.ones_like(below[..., :1])], -1)
    return np.diff(edges, axis=-1)


def _mean(severity: Ints, acute: Ints) -> Floats:
    return _BASE + _A_SEVERITY * severity + _AN_ACUTE * acute
