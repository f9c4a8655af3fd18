"""The rows of ICU stays and of their procedures: ventilation in charted intervals, lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.synth import draws
from tasks.synth.hospital import Row, clock, pick_or_none, weighted
from tasks.synth.latent import MOST_ADMISSIONS, Admissions, Floats
from tasks.synth.release import MIMIC_IV
from tasks.synth.stays import Stays
from tasks.synth.ventilation import intervals

_UNITS = weighted("units")
_STAY_IDS = 10_000_000  # above the admission's id
# the id that the stay of the patient 833,333 positions further would have: beyond all patients
_SECOND_STAY = 833_333 * MOST_ADMISSIONS * 6_153_721
_BACK_AFTER = 1440  # minutes from the first ICU stay to the second
_TUBE_AFTER = 30  # minutes from the start of the stay
_TUBE_AGAIN_SHARE = 0.3  # of the second stays of ventilated patients


@dataclass(frozen=True)
class _Stay:
    ids: tuple[int, int, int]  # subject_id, hadm_id, stay_id
    start: np.datetime64
    minutes: int
    tube: list[tuple[int, int]]  # ventilated from, to: minutes of the stay
    extubated: bool


def intensive_rows(seed: int, admissions: Admissions, stays: Stays) -> tuple[list[Row], list[Row]]:
    """Rows of icu/icustays and icu/procedureevents."""
    uniform = draws.uniforms(seed, "unit", admissions.key, 12)
    stay_rows: list[Row] = []
    event_rows: list[Row] = []
    for row in np.flatnonzero(stays.intensive):
        for number, stay in enumerate(_stays(admissions, stays, int(row), uniform[row])):
            end = stay.start + np.timedelta64(stay.minutes, "m")
            unit, length = pick_or_none(_UNITS, uniform[row, 0]), round(stay.minutes / 1440, 10)
            stay_rows.append((*stay.ids, unit, unit, clock(stay.start), clock(end), length))
            event_rows += _events(stay, number, uniform[row])
    return stay_rows, event_rows


def _stays(admissions: Admissions, stays: Stays, row: int, uniform: Floats) -> Iterator[_Stay]:
    subject = int(stays.subject_id[admissions.patient[row]])
    hadm = int(stays.hadm_id[row])
    start = stays.admitted[row] + np.timedelta64(15, "m")
    minutes, tube = int(stays.intensive_minutes[row]), int(stays.ventilated_minutes[row])
    after = minutes - tube if stays.on_tube[row] else _TUBE_AFTER
    course = [(after + a, after + b) for a, b in intervals(tube, uniform[6:11])] if tube else []
    ids = (subject, hadm, hadm + _STAY_IDS)
    yield _Stay(ids, start, minutes, course, not stays.on_tube[row])
    if again := int(stays.second_minutes[row]):
        start = start + np.timedelta64(minutes + _BACK_AFTER, "m")
        tubed = tube > 0 and uniform[11] < _TUBE_AGAIN_SHARE
        course = [(_TUBE_AFTER, again - 60)] if tubed else []
        yield _Stay((subject, hadm, _second_id(hadm)), start, again, course, True)


def _second_id(hadm: int) -> int:
    first = MIMIC_IV.first_admission
    return first + _STAY_IDS + (hadm - first + _SECOND_STAY) % MIMIC_IV.prime


def _events(stay: _Stay, number: int, uniform: Floats) -> Iterator[Row]:
    caregiver, weight = 10_000 + int(uniform[1] * 89_999), round(50 + 60 * float(uniform[2]), 1)
    planned = [(225459, 1, "None", "Imaging", "Task", 20)]
    for begin, end in stay.tube:
        planned.append((225792, end - begin, "min", "Ventilation", "ContinuousProcess", begin))
        if stay.extubated or end < stay.tube[-1][1]:
            planned.append((227194, 1, "None", "Intubation/Extubation", "Task", end))
    if not stay.tube and uniform[3] < 0.2:
        mask = min(240, stay.minutes - 60)
        planned.append((225794, mask, "min", "Ventilation", "ContinuousProcess", 40))
    if uniform[4] < 0.3:
        line = ("min", "Invasive Lines", "ContinuousProcess", 50)
        planned.append((225752, stay.minutes - 60, *line))
    for event, (item, value, unit, category, kind, after) in enumerate(planned):
        begun = stay.start + np.timedelta64(after, "m")
        ended = begun + np.timedelta64(value, "m")
        order = (stay.ids[2] * 16 + number * 8 + event) % 9_999_991
        site = ("Left Radial", "Invasive Arterial") if item == 225752 else (None, None)
        times = (clock(begun), clock(ended), clock(ended))
        order_columns = (order, order, category, kind, weight)
        state = (int(kind != "Task"), 0, "FinishedRunning", value, int(kind != "Task"))
        yield (*stay.ids, caregiver, *times, item, value, unit, *site, *order_columns, *state)
