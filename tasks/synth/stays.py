"""When an admission began and ended, in which unit, on a ventilator or not, and who died."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.synth import draws
from tasks.synth.catalog import VENTILATION, Catalog
from tasks.synth.difficulty import Difficulty
from tasks.synth.latent import MOST_ADMISSIONS, Admissions, Floats, Ints, Patients
from tasks.synth.truth import survival

_PRIME = 9_999_991  # the largest prime below 10^7: multiplying modulo it never meets an id twice
_ICD10_FROM = 2015.75  # October 2015
_MINUTES_A_DAY = 1440
_DAYS_A_YEAR = 365.2425


@dataclass(frozen=True)
class Stays:
    """The administrative facts of a chunk's patients and admissions."""

    subject_id: Ints  # [patients]
    anchor_age: Ints  # [patients], 91 stands for over 89
    anchor_year: Ints  # [patients], shifted
    year_group: list[str]  # [patients]
    dod: NDArray[np.datetime64]  # [patients], day; NaT: not known to be dead
    hadm_id: Ints  # [admissions]
    version: Ints  # [admissions], 9 or 10
    admitted: NDArray[np.datetime64]  # [admissions], minute
    discharged: NDArray[np.datetime64]  # [admissions], minute
    died: NDArray[np.bool_]  # [admissions]
    coded: NDArray[np.bool_]  # [admissions], has diagnosis rows
    noted: NDArray[np.bool_]  # [admissions], has a discharge note
    ventilated: NDArray[np.bool_]  # [admissions]
    intensive: NDArray[np.bool_]  # [admissions], has an ICU stay
    intensive_minutes: Ints  # [admissions]
    ventilated_minutes: Ints  # [admissions]

    @property
    def stay_id(self) -> Ints:
        """The ICU stay's id, were there one, [admissions]."""
        return self.hadm_id + 10_000_000


def subject_ids(seed: int, index: Ints) -> Ints:
    """The id of each patient, 1xxxxxxx, a one-to-one function of the index."""
    return 10_000_000 + (index * 7_368_787 + seed * 104_729) % _PRIME


def draw_stays(
    seed: int,
    patients: Patients,
    admissions: Admissions,
    catalog: Catalog,
    difficulty: Difficulty,
    ventilation: Floats,
) -> Stays:
    """Draw the administrative facts; ventilation is its chance, [admissions]."""
    person = draws.uniforms(seed, "person", patients.index.astype(np.uint64), 6)
    visit = draws.uniforms(seed, "visit", admissions.key, 8)
    length, ventilated = _lengths(seed, admissions, catalog, ventilation)
    died = admissions.last & (visit[:, 0] >= survival(admissions, catalog, difficulty))
    real, shift = _starts(patients, admissions, person, visit, length)
    origin = np.datetime64("1970-01-01T00:00", "m")
    minutes = (real[0] + shift[admissions.patient] - 1970) * _DAYS_A_YEAR * _MINUTES_A_DAY
    admitted = origin + minutes.astype(np.int64)
    discharged = admitted + (length * _MINUTES_A_DAY).astype(np.int64)
    unit = ventilated | (visit[:, 5] < np.array([0.03, 0.12, 0.45])[admissions.severity])
    unit_minutes = np.maximum(length * (0.35 + 0.5 * visit[:, 6]) * _MINUTES_A_DAY, 180)
    unit_minutes = np.minimum(unit_minutes, length * _MINUTES_A_DAY - 30).astype(np.int64)
    year = np.floor(real[1]).astype(np.int64)
    age = np.clip(
        63 + 17 * draws.normals(seed, "age", patients.index.astype(np.uint64), 1)[:, 0], 18, 100
    )
    first_group = 2008 + (year - 2008) // 3 * 3
    return Stays(
        subject_id=subject_ids(seed, patients.index),
        anchor_age=np.where(age >= 90, 91, age).astype(np.int64),
        anchor_year=year + shift,
        year_group=[f"{start} - {start + 2}" for start in first_group],
        dod=_deaths(patients, admissions, discharged, died, person),
        hadm_id=20_000_000
        + (admissions.key.astype(np.int64) * 6_153_721 + seed * 15_485_863) % _PRIME,
        version=np.where(real[0] >= _ICD10_FROM, 10, 9),
        admitted=admitted,
        discharged=discharged,
        died=died,
        coded=visit[:, 2] >= difficulty.without_diagnoses,
        noted=visit[:, 3] >= difficulty.without_note,
        ventilated=ventilated,
        intensive=unit,
        intensive_minutes=unit_minutes,
        ventilated_minutes=((unit_minutes - 60) * (0.3 + 0.7 * visit[:, 7])).astype(np.int64),
    )


def _lengths(
    seed: int, admissions: Admissions, catalog: Catalog, ventilation: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Length of stay in days, and who was ventilated, [admissions] each."""
    acute = np.array([not condition.chronic for condition in catalog.conditions])
    # the same draw as the procedure's code: who is ventilated is coded so
    ventilated = draws.uniforms(seed, VENTILATION, admissions.key, 1)[:, 0] < ventilation
    mean = 1.6 + 1.3 * admissions.severity + 0.8 * (admissions.present & acute).sum(1)
    noise = draws.normals(seed, "length", admissions.key, 1)[:, 0]
    return np.maximum(mean * np.exp(0.5 * noise) + 4.0 * ventilated, 0.3), ventilated


def _starts(
    patients: Patients, admissions: Admissions, person: Floats, visit: Floats, length: Floats
) -> tuple[tuple[Floats, Floats], Ints]:
    """The real start of each admission and of each patient, in years, and the years shifted."""
    start = 2008 + 11.6 * person[:, 0]
    gap = np.where(admissions.place > 0, 0.02 - 0.55 * np.log1p(-visit[:, 1]), 0.0)
    step = gap + np.concatenate([[0.0], length[:-1] / _DAYS_A_YEAR]) * (admissions.place > 0)
    total = np.cumsum(step)
    first = np.flatnonzero(admissions.place == 0)
    since = total - total[first][admissions.patient]
    shift = 100 + (person[:, 1] * 90).astype(np.int64)
    return (start[admissions.patient] + since, start), shift


def _deaths(
    patients: Patients,
    admissions: Admissions,
    discharged: NDArray[np.datetime64],
    died: NDArray[np.bool_],
    person: Floats,
) -> NDArray[np.datetime64]:
    """The day of death: of a last admission, or within the year after it, else not known."""
    last = np.flatnonzero(admissions.last)
    day = discharged[last].astype("datetime64[D]")
    later = day + (1 + person[:, 3] * 364).astype(np.int64)
    dod = np.where(person[:, 2] < 0.08, later, np.datetime64("NaT", "D"))
    deaths: NDArray[np.datetime64] = np.where(died[last], day, dod)
    return deaths


def admission_limit() -> int:
    """How many patients have ids of their own."""
    return _PRIME // MOST_ADMISSIONS
