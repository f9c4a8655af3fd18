"""Which patients have which conditions: the prior of the latent state, and admissions from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.synth import draws
from tasks.synth.catalog import PROFILES, SEXES, Catalog
from tasks.synth.difficulty import Difficulty

PROFILE_WEIGHTS = (0.14, 0.10, 0.10, 0.06, 0.10, 0.10, 0.08, 0.08, 0.08, 0.08, 0.05, 0.03)
# log-odds of severe against mild that a profile adds
PROFILE_SEVERITY = (0.1, 0.1, -0.3, 0.5, 0.1, 0.1, -0.3, 0.4, 0.6, -0.8, 0.0, 0.2)
SEVERITIES = 3
MOST_ADMISSIONS = 6
_FEMALE = 0.52

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Prior:
    """The prior of the latent state; a state is profile * SEVERITIES + severity."""

    state: Floats  # [states]
    present: Floats  # [sexes, states, conditions]
    chronic: NDArray[np.bool_]  # [conditions]

    @property
    def states(self) -> int:
        """Number of (profile, severity) pairs."""
        return len(self.state)


@dataclass(frozen=True)
class Patients:
    """One chunk of patients."""

    index: Ints  # [patients], the patient's number in the whole population
    sex: Ints  # [patients], index into SEXES
    profile: Ints  # [patients]
    admissions: Ints  # [patients], how many


@dataclass(frozen=True)
class Admissions:
    """The admissions of a chunk of patients, in order of patient and time."""

    patient: Ints  # [admissions], row of the patient in its chunk
    ordinal: Ints  # [admissions], 0 is the patient's first
    last: NDArray[np.bool_]  # [admissions], the patient's last
    key: Ints  # [admissions], the counter of their random draws
    sex: Ints  # [admissions]
    severity: Ints  # [admissions]
    state: Ints  # [admissions], profile and severity
    present: NDArray[np.bool_]  # [admissions, conditions]

    def __len__(self) -> int:
        return len(self.key)


def prior(catalog: Catalog, difficulty: Difficulty) -> Prior:
    """Build the prior, scaled so that each condition has the catalog's prevalence."""
    weights = np.array(PROFILE_WEIGHTS)
    tilt = np.array(PROFILE_SEVERITY)[:, None] * np.array([-0.5, 0.0, 0.5])
    severity = np.array(difficulty.severity) * np.exp(tilt)
    severity /= severity.sum(1, keepdims=True)
    state = (weights[:, None] / weights.sum() * severity).ravel()
    present = np.zeros((len(SEXES), len(state), len(catalog.conditions)))
    by_severity = np.tile(np.array(difficulty.acute_by_severity), len(PROFILES))
    sex_weights = {"F": _FEMALE, "M": 1 - _FEMALE}
    for index, condition in enumerate(catalog.conditions):
        home = np.isin(PROFILES, condition.profiles).repeat(SEVERITIES)
        # common conditions must not be as rare outside their profiles as rare ones
        ratio = 1 + (difficulty.profile_ratio - 1) * (1 - condition.prevalence) ** 4
        shape = np.where(home, ratio, 1.0)
        if not condition.chronic:
            shape = shape * by_severity
        share = sex_weights[condition.sex] if condition.sex else 1.0
        curve = _scaled(shape, state, condition.prevalence / share, difficulty.largest_prior)
        for column, sex in enumerate(SEXES):
            if condition.sex in (None, sex):
                present[column, :, index] = curve
    chronic = np.array([condition.chronic for condition in catalog.conditions])
    return Prior(state, present, chronic)


def draw_patients(seed: int, index: Ints, prior: Prior, difficulty: Difficulty) -> Patients:
    """Draw sex, profile and number of admissions of the patients with these indices."""
    uniform = draws.uniforms(seed, "patient", index, 3)
    weights = prior.state.reshape(-1, SEVERITIES).sum(1)
    further = difficulty.further_admission
    longer = np.floor(np.log1p(-uniform[:, 2]) / np.log(further)).astype(np.int64)
    return Patients(
        index=index,
        sex=(uniform[:, 0] >= _FEMALE).astype(np.int64),
        profile=draws.choose(np.cumsum(weights), uniform[:, 1]),
        admissions=1 + np.minimum(longer, MOST_ADMISSIONS - 1),
    )


def draw_admissions(seed: int, patients: Patients, prior: Prior) -> Admissions:
    """Draw each admission's severity and conditions; a patient keeps the chronic ones."""
    rows = np.repeat(np.arange(len(patients.index)), patients.admissions)
    first = np.concatenate([[0], np.cumsum(patients.admissions)[:-1]])
    ordinal = np.arange(len(rows)) - first[rows]
    key = patients.index[rows] * MOST_ADMISSIONS + ordinal
    profile, sex = patients.profile[rows], patients.sex[rows]
    by_profile = prior.state.reshape(-1, SEVERITIES)
    cumulative = np.cumsum(by_profile / by_profile.sum(1, keepdims=True), 1)
    severity = draws.choose(cumulative[profile], draws.uniforms(seed, "severity", key, 1)[:, 0])
    state = profile * SEVERITIES + severity
    conditions = prior.present.shape[2]
    of_life = draws.uniforms(seed, "chronic", patients.index, conditions)
    of_stay = draws.uniforms(seed, "acute", key, conditions)
    uniform = np.where(prior.chronic, of_life[rows], of_stay)
    return Admissions(
        patient=rows,
        ordinal=ordinal,
        last=ordinal == patients.admissions[rows] - 1,
        key=key,
        sex=sex,
        severity=severity,
        state=state,
        present=uniform < prior.present[sex, state],
    )


def share_of_last(difficulty: Difficulty) -> float:
    """P(an admission is its patient's last) = 1 / mean number of admissions.

    Only a last admission can end in death; no admission note says whether it is the last.
    """
    return 1.0 / sum(difficulty.further_admission**more for more in range(MOST_ADMISSIONS))


def _scaled(shape: Floats, weights: Floats, mean: float, largest: float) -> Floats:
    """Scale the shape, capped at the largest, so that its weighted mean is right (bisection)."""
    low, high = 0.0, 1.0 / float(shape.min())
    for _ in range(60):
        middle = (low + high) / 2
        if float(weights @ np.minimum(shape * middle, largest)) < mean:
            low = middle
        else:
            high = middle
    return np.minimum(shape * high, largest)
