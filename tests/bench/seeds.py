"""How often intervals over seeds hold the truth, in simulated hospitals whose truth is exact.

A score is mu * case + noise, both noises of variance 1 in all, so a label's AUROC is
Phi(mu / sqrt(2)); a seed's mu varies by N(0, tau^2), so the mean of A over seeds is
Phi(mu / sqrt(2 + tau^2)). Of the noise, one part is the admission's and patient's, alike in every
seed (what is hard stays hard), and a share OWN is the seed's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.measures.auroc import label_aurocs
from tasks.measures.intervals import difference, interval
from tasks.measures.sample import Sample
from tasks.measures.seeds import Trained, difference_over_seeds, over_seeds

REPLICATES = 2_000
PATIENTS = 1_000
PREVALENCES = (0.02, 0.05, 0.1, 0.2, 0.3)
STRENGTHS = (0.6, 0.8, 1.0, 1.2, 1.4)  # mu of the labels
PATIENT_SHARE = 0.3  # of the shared noise's variance, alike in all admissions of a patient
OWN = 0.1  # of the noise's variance, of the seed alone
ALMOST_NONE = 1e-6  # a tau of seeds that differ in their own noise alone
TAU = 0.05  # then seeds move the macro AUROC about as much as patients do, over 3 seeds


@dataclass(frozen=True)
class Hospital:
    """Test admissions with their cases, and the noise that every model meets."""

    patients: np.ndarray  # [admissions]
    cases: np.ndarray  # [admissions, labels]
    shared: np.ndarray  # [admissions, labels], of variance 1


def hospital(random: np.random.Generator, patients: int) -> Hospital:
    """Patients of 1 to 5 admissions, which share a part of their noise."""
    owner = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    width = len(PREVALENCES)
    of_patient = random.standard_normal((patients, width))[owner]
    alone = random.standard_normal((len(owner), width))
    shared = math.sqrt(PATIENT_SHARE) * of_patient + math.sqrt(1 - PATIENT_SHARE) * alone
    return Hospital(owner, random.random(shared.shape) < PREVALENCES, shared)


def trained(
    random: np.random.Generator, found: Hospital, seeds: int, tau: float = TAU, above: float = 0.0
) -> Trained:
    """A model of so many seeds; `above` is added to every mu. Without a tau: deterministic."""
    estimates = []
    for _ in range(seeds):
        strength = np.array(STRENGTHS) + above + tau * random.standard_normal()
        own = random.standard_normal(found.shared.shape)
        noise = math.sqrt(1 - OWN) * found.shared + math.sqrt(OWN) * own
        scores = (strength * found.cases + noise).astype(np.float32)
        observed = np.ones(scores.shape, bool)
        estimates.append(
            label_aurocs(Sample.of(scores, found.cases, observed, found.patients)).macro()
        )
    return Trained(tuple(estimates), deterministic=not tau)


def truth(tau: float = TAU, above: float = 0.0) -> float:
    """The macro AUROC's mean over seeds, exact."""
    scale = math.sqrt(2 + tau**2)
    return float(np.mean([_normal((one + above) / scale) for one in STRENGTHS]))


def coverage(
    replicates: int, patients: int, seeds: int, *, tau: float = TAU, start: int = 0
) -> dict[str, tuple[float, float]]:
    """What -> (share of replicates whose interval holds the truth, the same without seeds' s)."""
    better = 0.05
    held: dict[str, list[tuple[bool, bool]]] = {}
    for replicate in range(replicates):
        random = np.random.default_rng(start + replicate)
        found = hospital(random, patients)
        first = trained(random, found, seeds, tau, above=better)
        second = trained(random, found, seeds, tau)
        baseline = trained(random, found, 1, tau=0.0)
        for what, told, naive, true in (
            _alone("one model", first, found, truth(tau, better)),
            _apart("a model less another", first, second, found, truth(tau, better) - truth(tau)),
            _apart("a model less a deterministic one", first, baseline, found,
                   truth(tau, better) - truth(tau=0.0)),
        ):  # fmt: skip
            held.setdefault(what, []).append((_holds(told, true), _holds(naive, true)))
    means = {what: np.mean(shares, axis=0) for what, shares in held.items()}
    return {what: (float(ours), float(naive)) for what, (ours, naive) in means.items()}


def rows() -> list[dict[str, Any]]:
    """Coverage of 95% intervals, beside that of intervals that ignore the seeds."""
    return [
        {
            "what": f"{what}, {seeds} seeds that {differ}, {PATIENTS} patients, {REPLICATES} "
            f"replicates (Monte Carlo error {100 * _error(ours):.1f} points)",
            "unit": "% covered",
            "ours": 100 * ours,
            "peer": 100 * naive,
            "peer_name": "the patients' variance of the averaged influences alone",
            "ratio": abs(naive - 0.95) / max(abs(ours - 0.95), _error(ours)),
            "goal": "93 to 97" if tau == TAU else "above 93: too wide is known",
            "peak_mib": None,
        }
        for seeds, tau, differ in (
            (3, TAU, "differ"),
            (5, TAU, "differ"),
            (3, ALMOST_NONE, "are equally good"),
        )
        for what, (ours, naive) in coverage(REPLICATES, PATIENTS, seeds, tau=tau).items()
    ]


_Told = tuple[str, tuple[float, float], tuple[float, float], float]


def _alone(what: str, model: Trained, found: Hospital, true: float) -> _Told:
    ours, naive = over_seeds(model, found.patients), interval(model.mean, found.patients)
    return what, (ours.low, ours.high), (naive.low, naive.high), true


def _apart(what: str, first: Trained, second: Trained, found: Hospital, true: float) -> _Told:
    ours = difference_over_seeds(first, second, found.patients)
    naive = difference(first.mean, second.mean, found.patients)
    return what, (ours.low, ours.high), (naive.low, naive.high), true


def _holds(bounds: tuple[float, float], true: float) -> bool:
    return bounds[0] <= true <= bounds[1]


def _error(share: float) -> float:
    return math.sqrt(share * (1 - share) / REPLICATES)


def _normal(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))
