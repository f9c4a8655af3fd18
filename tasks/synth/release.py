"""What a release of MIMIC does with the same population: ids, shifted dates, code systems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.errors import ConfigError
from tasks.synth import draws
from tasks.synth.latent import MOST_ADMISSIONS, Admissions, Floats, Ints

# patients from this index on are only in the source that does not share them
_ELSEWHERE = 700_000
_BOTH_UNTIL = 2012.0  # MIMIC-III ends there


@dataclass(frozen=True)
class Release:
    """A layout of the generated source; a patient's ids depend on the seed and position alone."""

    name: str
    folder: str  # of the source, within the generator's folder
    first_subject: int
    first_admission: int
    prime: int  # the largest below the range of ids: multiples modulo it are distinct
    shift: int  # which of the person's draws shifts the dates
    icd9_only: bool
    most_patients: int

    def subject_ids(self, seed: int, position: Ints) -> Ints:
        """The id of each patient, by position in the source."""
        return self.first_subject + (position * 7_368_787 + seed * 104_729) % self.prime

    def admission_ids(self, seed: int, position: Ints, admissions: Admissions) -> Ints:
        """The id of each admission, [admissions]."""
        number = position[admissions.patient] * MOST_ADMISSIONS + admissions.ordinal
        return self.admission_id(seed, number)

    def admission_id(self, seed: int, number: Ints) -> Ints:
        """The id of an admission by its number; a patient has MOST_ADMISSIONS of them."""
        return self.first_admission + (number * 6_153_721 + seed * 15_485_863) % self.prime


MIMIC_IV = Release("mimic-iv", "mimic", 10_000_000, 20_000_000, 9_999_991, 1, False, _ELSEWHERE)
# it has so few ids that only a sixth of that many patients get distinct ones
MIMIC_III = Release("mimic-iii", "mimic-iii", 1, 100_000, 99_991, 4, True, 15_000)
RELEASES = {release.name: release for release in (MIMIC_IV, MIMIC_III)}


@dataclass(frozen=True)
class Patientele:
    """The patients of a source: MIMIC-IV's, or `shared` of them followed by others."""

    release: Release
    patients: int
    shared: int = 0  # with the MIMIC-IV source of the same seed

    def __post_init__(self) -> None:
        """Raises ConfigError for more patients than there are ids."""
        if self.patients > self.release.most_patients:
            raise ConfigError(
                f"{self.patients} patients are more than the ids of {self.release.name} allow; "
                f"ask for at most {self.release.most_patients} (--patients)"
            )

    def index(self, seed: int, position: Ints) -> Ints:
        """The patients at these positions: the counters of all their draws.

        The shared patients are MIMIC-IV's first who came in the years that both releases cover.
        """
        if self.release is MIMIC_IV:
            return position
        others = position + _ELSEWHERE
        if not self.shared:
            return others
        candidates = np.arange(4 * self.shared + 1000)  # a third of them came early enough
        early = candidates[first_year(seed, candidates) < _BOTH_UNTIL][: self.shared]
        return np.where(
            position < self.shared, early[np.minimum(position, self.shared - 1)], others
        )

    def written_for(self, seed: int, position: Ints) -> Ints:
        """The subject_id that decides how a patient's notes are written: shared ones agree."""
        ids = self.release.subject_ids(seed, position)
        shared_ids = MIMIC_IV.subject_ids(seed, self.index(seed, position))
        return np.where(position < self.shared, shared_ids, ids)


def first_year(seed: int, index: Ints) -> Floats:
    """The true (unshifted) year of each patient's first admission, with its fraction."""
    return 2008 + 11.6 * draws.uniforms(seed, "person", index, 1)[:, 0]
