"""A simulated hospital whose true AUROCs are known in closed form.

A label is present where a normal variable passes a threshold; its score is mu * present + an error
that is independent of every label. Both are correlated within a patient, and across the labels of
an admission; sicker patients come more often. For admissions of two different patients the AUROC
of a label is then Phi(mu / sqrt(2)) exactly, and the micro AUROC is a mixture of such terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# shares of variance: patient (all labels), patient and label, admission (all labels), the rest
PRESENCE = (0.15, 0.35, 0.10, 0.40)
ERROR = (0.15, 0.35, 0.15, 0.35)
COMES_AGAIN = (0.40, 0.20, 0.10, 0.05)  # of patients: at least 2, 3, 4, 5 admissions
SICKNESS = 0.5  # correlation of how often a patient comes with its share of all labels
BETWEEN_MODELS = 0.8  # correlation of the two models' errors, of one admission and label
MEAN_ADMISSIONS = 1 + sum(COMES_AGAIN)


@dataclass(frozen=True)
class Sample:
    """What a study of this hospital sees."""

    scores: NDArray[np.float32]  # [admissions, labels]
    second: NDArray[np.float32]  # [admissions, labels], of the second model
    cases: NDArray[np.bool_]  # [admissions, labels]
    patients: NDArray[np.int64]  # [admissions]


class Hospital:
    """Labels of the given prevalences (among admissions) and true AUROCs.

    Args:
        prevalence: [labels].
        auroc: [labels], of the first model; the second has 0.9 of its separation.
    """

    def __init__(self, prevalence: NDArray[np.float64], auroc: NDArray[np.float64]) -> None:
        from scipy.special import ndtri

        self.prevalence = prevalence
        self.apart = np.sqrt(2) * ndtri(auroc)  # mu
        self.apart_second = 0.9 * self.apart
        self.offset = 0.5 * np.log(prevalence / (1 - prevalence))
        self._again = -ndtri(np.array(COMES_AGAIN))  # thresholds of coming again
        self._cut = _thresholds(prevalence, self._again)

    @property
    def auroc(self) -> NDArray[np.float64]:
        """[labels], of the first model."""
        return _above(self.apart)

    @property
    def auroc_second(self) -> NDArray[np.float64]:
        """[labels], of the second model."""
        return _above(self.apart_second)

    @cached_property
    def micro(self) -> float:
        """The first model's AUROC of all cells pooled: case of label j against control of k."""
        case = self.prevalence / self.prevalence.sum()
        control = (1 - self.prevalence) / (1 - self.prevalence).sum()
        apart = (self.offset + self.apart)[:, None] - self.offset[None, :]
        return float(case @ _above(apart) @ control)

    def sample(self, admissions: int, random: np.random.Generator) -> Sample:
        """Draw patients, about `admissions` admissions in all."""
        patients = round(admissions / MEAN_ADMISSIONS)
        sickness = random.standard_normal(patients, np.float32)
        luck = random.standard_normal(patients, np.float32)
        often = SICKNESS * sickness + np.float32(np.sqrt(1 - SICKNESS**2)) * luck
        owner = np.repeat(np.arange(patients), 1 + (often[:, None] > self._again).sum(1))
        present = self._correlated(PRESENCE, sickness, owner, random) > self._cut
        shared = random.standard_normal(patients, np.float32)
        error = self._correlated(ERROR, shared, owner, random)
        own = random.standard_normal(error.shape, np.float32)
        error_second = np.float32(BETWEEN_MODELS) * error
        error_second += np.float32(np.sqrt(1 - BETWEEN_MODELS**2)) * own
        offset = self.offset.astype(np.float32)
        scores = offset + error + present * self.apart.astype(np.float32)
        second = offset + error_second + present * self.apart_second.astype(np.float32)
        return Sample(scores, second, present, owner)

    def _correlated(
        self,
        shares: tuple[float, ...],
        of_patient: NDArray[np.float32],
        owner: NDArray[np.int64],
        random: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Standard normal variables [admissions, labels] with these shares of variance."""
        patient, patient_label, admission, rest = np.sqrt(np.array(shares, np.float32))
        labels = len(self.prevalence)
        by_patient = patient_label * random.standard_normal((len(of_patient), labels), np.float32)
        by_patient += patient * of_patient[:, None]
        found = rest * random.standard_normal((len(owner), labels), np.float32)
        found += by_patient[owner]
        found += admission * random.standard_normal((len(owner), 1), np.float32)
        return found


def _above(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(a > b) of two independent normal variables of variance 1 whose means are `apart`."""
    from scipy.special import ndtr

    return np.asarray(ndtr(apart / np.sqrt(2)))


def _thresholds(prevalence: NDArray[np.float64], again: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds that give the prevalences among admissions, where sicker patients come more."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    correlation = SICKNESS * np.sqrt(PRESENCE[0])
    edges = np.concatenate(([-9.0], again, [9.0]))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    # how often a patient comes, piece by piece: constant number of admissions in each
    often = (edges[1:, None] + edges[:-1, None]) / 2 + np.diff(edges)[:, None] / 2 * nodes
    mass = np.diff(edges)[:, None] / 2 * weights * np.exp(-(often**2) / 2) / np.sqrt(2 * np.pi)
    mass *= np.arange(1, len(edges))[:, None] / MEAN_ADMISSIONS

    def excess(cut: float, wanted: float) -> float:
        present = ndtr((correlation * often - cut) / np.sqrt(1 - correlation**2))
        return float((mass * present).sum() - wanted)

    return np.array([brentq(excess, -6, 8, (wanted,), xtol=1e-12) for wanted in prevalence])
