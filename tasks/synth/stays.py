"""When each admission began and ended, in which unit, with ventilation or not, and who died."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.synth import draws, lengths, ventilation
from tasks.synth.catalog import Catalog
from tasks.synth.difficulty import Difficulty
from tasks.synth.latent import Admissions, Floats, Ints, Patients
from tasks.synth.release import Patientele, first_year
from tasks.synth.truth import survival

_ICD10_FROM = 2015.75  # October 2015
_MINUTES_A_DAY = 1440
_DAYS_A_YEAR = 365.2425
_SECOND_UNIT_SHARE = 0.25  # of the ICU stays that leave time for another
_LEAST_ROOM = 1440  # minutes between two ICU stays and after
_ON_TUBE_SHARE = 0.6  # of the deaths of ventilated patients: the ventilator runs to the end
_UNIT_BY_SEVERITY = (0.03, 0.12, 0.45)
_SOON_BY_SEVERITY = (0.25, 0.45, 0.7)  # share of the returns that fall within 30 days
_SAME_DAY_SHARE = 0.08  # of those
_DEATH_LATER_BY_SEVERITY = (0.03, 0.08, 0.25)  # within a year after the last discharge


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
    length: Ints  # [admissions], its class
    ventilated: NDArray[np.bool_]  # [admissions]
    intensive: NDArray[np.bool_]  # [admissions], has an ICU stay
    intensive_minutes: Ints  # [admissions]
    second_minutes: Ints  # [admissions], of another ICU stay a day or more after; 0: none
    ventilated_minutes: Ints  # [admissions], from first start to last end
    on_tube: NDArray[np.bool_]  # [admissions], died on the ventilator

    @property
    def long_enough(self) -> NDArray[np.bool_]:
        """Admissions for which it is asked whether ventilation was prolonged."""
        return self.ventilated_minutes >= ventilation.COHORT_DAYS * _MINUTES_A_DAY

    @property
    def prolonged(self) -> NDArray[np.bool_]:
        """Admissions ventilated for more than a week."""
        return self.ventilated_minutes >= ventilation.LONG_DAYS * _MINUTES_A_DAY


def draw_stays(
    seed: int,
    source: Patientele,
    position: Ints,
    patients: Patients,
    admissions: Admissions,
    catalog: Catalog,
    difficulty: Difficulty,
) -> Stays:
    """Draw the administrative facts of the patients at these positions in the source."""
    person = draws.uniforms(seed, "person", patients.index, 6)
    visit = draws.uniforms(seed, "visit", admissions.key, 8)
    chances = ventilation.chance(catalog, admissions.present)
    ventilated, tube_days = ventilation.draw(seed, admissions, chances)
    length = lengths.draw(seed, admissions, catalog, tube_days)
    died = admissions.last & (visit[:, 0] >= survival(admissions, catalog, difficulty))
    since = _since_first(seed, admissions, visit, length)
    first = first_year(seed, patients.index)
    shift = 100 + (person[:, source.release.shift] * 90).astype(np.int64)
    origin = np.datetime64("1970-01-01T00:00", "m")
    minutes = ((first + shift - 1970)[admissions.patient] + since) * _DAYS_A_YEAR * _MINUTES_A_DAY
    stay_minutes = (length * _MINUTES_A_DAY).astype(np.int64)
    admitted = origin + minutes.astype(np.int64)
    discharged = admitted + stay_minutes
    tube = (tube_days * _MINUTES_A_DAY).astype(np.int64)
    on_tube = died & ventilated & (visit[:, 4] < _ON_TUBE_SHARE)
    unit = ventilated | (visit[:, 5] < np.array(_UNIT_BY_SEVERITY)[admissions.severity])
    in_unit, again = _units(visit, stay_minutes, tube, on_tube)
    year = np.floor(first).astype(np.int64)
    age = 63 + 17 * draws.normals(seed, "age", patients.index, 1)[:, 0]
    age = np.clip(age, 18, 100)
    tenth = first[admissions.patient] + since >= _ICD10_FROM
    return Stays(
        subject_id=source.release.subject_ids(seed, position),
        anchor_age=np.where(age >= 90, 91, age).astype(np.int64),
        anchor_year=year + shift,
        year_group=[f"{start} - {start + 2}" for start in 2008 + (year - 2008) // 3 * 3],
        dod=_deaths(admissions, discharged, died, person),
        hadm_id=source.release.admission_ids(seed, position, admissions),
        version=np.where(tenth & (not source.release.icd9_only), 10, 9),
        admitted=admitted,
        discharged=discharged,
        died=died,
        coded=visit[:, 2] >= difficulty.without_diagnoses,
        noted=visit[:, 3] >= difficulty.without_note,
        length=lengths.class_of(stay_minutes / _MINUTES_A_DAY),
        ventilated=ventilated,
        intensive=unit,
        intensive_minutes=in_unit,
        second_minutes=np.where(unit, again, 0),
        ventilated_minutes=tube,
        on_tube=on_tube,
    )


def _units(visit: Floats, stay: Ints, tube: Ints, on_tube: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Minutes of the first ICU stay and of a second, if there were any, [admissions] each."""
    wanted = np.maximum(stay * (0.35 + 0.5 * visit[:, 6]), 180)
    # a ventilated patient is in the unit for the whole course; one who dies on it, to the end
    first = np.minimum(np.maximum(wanted, np.where(tube > 0, tube + 90, 0)), stay - 30)
    first = np.where(on_tube, stay - 15, first).astype(np.int64)
    room = stay - first - 2 * _LEAST_ROOM
    again = (room > 0) & (visit[:, 7] < _SECOND_UNIT_SHARE)
    return first, np.where(again, np.minimum(room, 4 * _LEAST_ROOM), 0)


def _since_first(seed: int, admissions: Admissions, visit: Floats, length: Floats) -> Floats:
    """Years from the patient's first admission to each, [admissions]; the sick are back sooner."""
    back = draws.uniforms(seed, "return", admissions.key, 3)
    before = np.roll(admissions.severity, 1)
    soon = back[:, 0] < np.array(_SOON_BY_SEVERITY)[before]
    same_day = back[:, 1] < _SAME_DAY_SHARE
    days = np.where(same_day, (1 + 4 * back[:, 2]) / 24, 0.5 + 29 * back[:, 2])
    usual = 0.02 - 0.55 * np.log1p(-visit[:, 1])
    gap = np.where(soon, days / _DAYS_A_YEAR, usual)
    step = (gap + np.roll(length, 1) / _DAYS_A_YEAR) * (admissions.ordinal > 0)
    total = np.cumsum(step)
    since: Floats = total - total[admissions.ordinal == 0][admissions.patient]
    return since


def _deaths(
    admissions: Admissions,
    discharged: NDArray[np.datetime64],
    died: NDArray[np.bool_],
    person: Floats,
) -> NDArray[np.datetime64]:
    """The day of death: in a last admission, or within the year after it, else unknown."""
    last = np.flatnonzero(admissions.last)
    day = discharged[last].astype("datetime64[D]")
    # more than a third of the year's deaths happen in its first month
    later = day + (1 + 364 * person[:, 3] ** 2.5).astype(np.int64)
    dies = person[:, 2] < np.array(_DEATH_LATER_BY_SEVERITY)[admissions.severity[last]]
    dod = np.where(dies, later, np.datetime64("NaT", "D"))
    deaths: NDArray[np.datetime64] = np.where(died[last], day, dod)
    return deaths
