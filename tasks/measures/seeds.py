"""Intervals over training seeds: what another draw of patients and another seed would change.

A model trained with seed s has the AUROC A(s) in the population, and a_s = A(s) + F_s in the test
sample, where F_s is the sum over patients of its influences. What a method is worth is the mean of
A over seeds; it is estimated by the mean of the a_s, which errs by

    mean_s(A(s) - E A)  +  mean_s(F_s).

The second term is the sum over patients of the influences *averaged over seeds*, so its variance is
the sandwich of the averaged vectors: what a patient does to every seed alike stays, what it does to
one seed alone is divided by S. Given the seeds its mean is zero, so it does not vary with the
first, whose variance is that of A over S. The sample variance s^2 of the a_s estimates
the variance of A plus that of the part of F_s that seeds do not share; hence

    variance = sandwich(averaged influences) + s^2 / S

holds the unshared part over S once too often, and is never too small on average: of seeds that
differ in nothing but that, 98.9% of a difference's intervals hold it (`make bench NAME=seeds`). The
interval is Student's t with Satterthwaite's degrees of freedom (Biometrics Bulletin 2:110-114,
1946): each term's square over its own degrees, the patients' (`small_samples.py`) and seeds less
one.

Two models on the same patients: the averaged influences are subtracted first, so what both find
hard cancels, and each model adds its own s^2 / S. Models that have nothing to draw (TF-IDF: every
seed gives the same predictions) have s = 0 and add nothing. Where equal seed numbers share
something (the labelled admissions drawn), s_A and s_B count it although it cancels: too wide again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.measures.estimates import Estimate
from tasks.measures.intervals import (
    METHOD,
    PAIRED_METHOD,
    Interval,
    basis,
    difference,
    interval,
    interval_of,
    standard_error,
    tested,
)
from tasks.measures.small_samples import satterthwaite, with_expected
from tasks.measures.wilson import Spread

ONE_CHECKPOINT = "this checkpoint only"
T_METHOD = "Student's t, Satterthwaite"
_Term = tuple[float, float]  # a variance, and its degrees of freedom


@dataclass(frozen=True)
class Seeded(Interval):
    """A value over seeds with its 95% interval."""

    method: str = ""  # how both were made


@dataclass(frozen=True)
class Trained:
    """A model's estimates on the same admissions, one a seed.

    `deterministic`: every seed makes the same predictions, so one estimate stands for them all.
    """

    estimates: tuple[Estimate, ...]
    deterministic: bool = False

    @property
    def seeds(self) -> int:
        return len(self.estimates)

    @property
    def mean(self) -> Estimate:
        """The estimates and their influences, averaged over seeds."""
        return replace(
            self.estimates[0],  # of the same labels and patients, hence of the same degrees
            value=float(np.mean([of_seed.value for of_seed in self.estimates])),
            influence=np.mean([of_seed.influence for of_seed in self.estimates], axis=0),
            reason=next(filter(None, (of_seed.reason for of_seed in self.estimates)), ""),
            expected=float(np.mean([of_seed.expected for of_seed in self.estimates])),
        )

    @property
    def spread(self) -> float:
        """The standard deviation of the seeds' values; NaN for one seed, 0 if deterministic."""
        if self.deterministic:
            return 0.0
        values = [of_seed.value for of_seed in self.estimates]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @property
    def one_checkpoint(self) -> bool:
        """Whether nothing is known of how another seed would fare."""
        return self.seeds == 1 and not self.deterministic

    def equals(self, other: Trained) -> bool:
        """Whether both rank alike, seed by seed, as where a model meets itself."""
        return self.seeds == other.seeds and all(
            ours.value == theirs.value and np.array_equal(ours.influence, theirs.influence)
            for ours, theirs in zip(self.estimates, other.estimates, strict=True)
        )


def over_seeds(model: Trained, patients: NDArray[np.int64]) -> Seeded:
    """The mean over seeds with its interval, a score interval as `interval` gives it.

    Args:
        patients: [admissions], whose admission it is, as 0, 1, 2, ...

    >>> seeds = tuple(Estimate(value, np.zeros(20)) for value in (0.7, 0.8))
    >>> mean = over_seeds(Trained(seeds), np.arange(20))
    >>> mean.value, mean.degrees  # nothing but the two seeds varies
    (0.75, 1.0)
    """
    words = ONE_CHECKPOINT if model.one_checkpoint else _in_words(model)
    if model.seeds == 1:  # nothing but patients varies: the interval that a run's report gives
        return _seeded(interval(model.estimates[0], patients), f"{words}; {METHOD}")
    mean, of_seeds = model.mean, _seed_terms(model)
    of_patients, reason = _patient_term(mean, patients)
    further = None
    if mean.expected:
        further = _summed([with_expected(*of_patients, mean.expected), *of_seeds])
    spread = _summed([of_patients, *of_seeds])
    ends = interval_of(mean.value, *spread, reason=reason, further=further)
    return _seeded(ends, f"{words}; {METHOD}; {T_METHOD}")


def difference_over_seeds(first: Trained, second: Trained, patients: NDArray[np.int64]) -> Seeded:
    """First minus second on the same admissions, with the two-sided p-value of no difference.

    A model compared with itself gives 0, from 0 to 0, and p = 1.

    >>> model = Trained(tuple(Estimate(value, np.zeros(20)) for value in (0.7, 0.8)))
    >>> difference_over_seeds(model, model, np.arange(20)).p_value
    1.0
    """
    ours, theirs = first.mean, second.mean
    method = f"{_in_words(first)} against {_in_words(second)}; {PAIRED_METHOD}"
    if first.one_checkpoint or second.one_checkpoint:
        method = f"{ONE_CHECKPOINT}; {method}"
    if first.equals(second) or first.seeds == second.seeds == 1:
        return _seeded(difference(ours, theirs, patients), method)
    apart = ours.minus(theirs)
    of_patients, reason = _patient_term(apart, patients)
    spread = _summed([of_patients, *_seed_terms(first), *_seed_terms(second)])
    ends = interval_of(apart.value, *spread, (-1.0, 1.0), reason)
    return _seeded(tested(ends, spread.error), f"{method}; {T_METHOD}")


def _in_words(model: Trained) -> str:
    if model.deterministic:
        return "deterministic"
    return "1 seed" if model.seeds == 1 else f"mean of {model.seeds} seeds"


def _seeded(ends: Interval, method: str) -> Seeded:
    withheld = f"interval withheld: {ends.reason}" if ends.reason else ""
    return Seeded(**vars(ends), method=withheld or method)


def _patient_term(estimate: Estimate, patients: NDArray[np.int64]) -> tuple[_Term, str]:
    """The sandwich variance of influences and its degrees; why there can be no interval."""
    degrees, reason = basis(estimate, patients)
    return (standard_error(estimate.influence, patients) ** 2, degrees), reason


def _seed_terms(model: Trained) -> list[_Term]:
    """The seeds' variance over their number; nothing where there is one estimate."""
    if model.seeds < 2:
        return []
    return [(model.spread**2 / model.seeds, float(model.seeds - 1))]


def _summed(terms: Sequence[_Term]) -> Spread:
    """What the variances make together."""
    variances, degrees = zip(*terms, strict=True)
    variance = sum(variances)
    free = satterthwaite(variances, degrees) if variance > 0 else math.inf
    return Spread(math.sqrt(variance), free)
