"""What a release of MIMIC does with the same population: ids, shifted dates, code systems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.errors import ConfigError
from tasks.synth import draws
from tasks.synth.latent import MOST_ADMISSIONS, Admissions, Floats, Ints

# patients from here on are in no source but the one that does not share them
_ELSEWHERE = 700_000
_BOTH_UNTIL = 2012.0  # MIMIC-III ends there


@dataclass(frozen=True)
class Release:
    """A layout of the generated source; a patient's ids depend on seed and place alone."""

    name: str
    folder: str  # of the source, within the generator's folder
    first_subject: int
    first_admission: int
    prime: int  # the largest below the width of the ids: multiplying modulo it meets none twice
    shift: int  # which of the person's draws shifts the dates
    icd9_only: bool
    most_patients: int

    def subject_ids(self, seed: int, place: Ints) -> Ints:
        """The id of each patient, by the place in the source."""
        return self.first_subject + (place * 7_368_787 + seed * 104_729) % self.prime

    def admission_ids(self, seed: int, place: Ints, admissions: Admissions) -> Ints:
        """The id of each admission, [admissions]."""
        number = place[admissions.patient] * MOST_ADMISSIONS + admissions.place
        return self.admission_id(seed, number)

    def admission_id(self, seed: int, number: Ints) -> Ints:
        """The id of an admission by its number; a patient has MOST_ADMISSIONS of them."""
        return self.first_admission + (number * 6_153_721 + seed * 15_485_863) % self.prime


MIMIC_IV = Release("mimic-iv", "mimic", 10_000_000, 20_000_000, 9_999_991, 1, False, _ELSEWHERE)
# its ids are so few that a sixth of them is all the patients that get their own
MIMIC_III = Release("mimic-iii", "mimic-iii", 1, 100_000, 99_991, 4, True, 15_000)
RELEASES = {release.name: release for release in (MIMIC_IV, MIMIC_III)}


@dataclass(frozen=True)
class Patientele:
    """Which patients a source has: those of MIMIC-IV, or `shared` of them and then others."""

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

    def index(self, seed: int, place: Ints) -> Ints:
        """Who stands at these places: the counter of all that is drawn of a patient.

        The shared patients are MIMIC-IV's first who came in the years that both releases cover.
        """
        if self.release is MIMIC_IV:
            return place
        others = place + _ELSEWHERE
        if not self.shared:
            return others
        candidates = np.arange(4 * self.shared + 1000)  # a third of them came early enough
        early = candidates[first_year(seed, candidates) < _BOTH_UNTIL][: self.shared]
        return np.where(place < self.shared, early[np.minimum(place, self.shared - 1)], others)

    def written_for(self, seed: int, place: Ints) -> Ints:
        """The subject_id by which a patient's notes were written: a shared note stays the same."""
        own = self.release.subject_ids(seed, place)
        index = self.index(seed, place)
        return np.where(place < self.shared, MIMIC_IV.subject_ids(seed, index), own)


def first_year(seed: int, index: Ints) -> Floats:
    """When the first admission of each patient was in truth, in years."""
    return 2008 + 11.6 * draws.uniforms(seed, "person", index.astype(np.uint64), 1)[:, 0]
