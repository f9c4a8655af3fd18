"""Writes the tables of the hosp and icu modules, row by row, with the columns of MIMIC-IV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from tasks.synth import draws
from tasks.synth.catalog import SEXES, Catalog, Code
from tasks.synth.latent import Admissions, Floats, Patients
from tasks.synth.stays import Stays

_NOTE = "note_id subject_id hadm_id note_type note_seq charttime storetime text"
COLUMNS = {
    "note/discharge": _NOTE,
    "note/radiology": _NOTE,
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/admissions": "subject_id hadm_id admittime dischtime deathtime admission_type "
    "admit_provider_id admission_location discharge_location insurance language marital_status "
    "race edregtime edouttime hospital_expire_flag",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
    "hosp/d_icd_diagnoses": "icd_code icd_version long_title",
    "hosp/d_icd_procedures": "icd_code icd_version long_title",
    "icu/icustays": "subject_id hadm_id stay_id first_careunit last_careunit intime outtime los",
    "icu/procedureevents": "subject_id hadm_id stay_id caregiver_id starttime endtime storetime "
    "itemid value valueuom location locationcategory orderid linkorderid ordercategoryname "
    "ordercategorydescription patientweight isopenbag continueinnextdept statusdescription "
    "originalamount originalrate",
    "icu/d_items": "itemid label abbreviation linksto category unitname param_type "
    "lownormalvalue highnormalvalue",
}
_ITEMS = (
    (225792, "Invasive Ventilation", "2-Ventilation"),
    (225794, "Non-invasive Ventilation", "2-Ventilation"),
    (227194, "Extubation", "1-Intubation/Extubation"),
    (225468, "Unplanned Extubation (patient-initiated)", "1-Intubation/Extubation"),
    (225477, "Unplanned Extubation (non-patient initiated)", "1-Intubation/Extubation"),
    (225459, "Chest X-Ray", "5-Imaging"),
    (225752, "Arterial Line", "Access Lines - Invasive"),
)
_UNITS = (
    "Medical Intensive Care Unit (MICU)",
    "Surgical Intensive Care Unit (SICU)",
    "Coronary Care Unit (CCU)",
    "Medical/Surgical Intensive Care Unit (MICU/SICU)",
    "Trauma SICU (TSICU)",
)
_TYPES = ("EW EMER.", "EW EMER.", "OBSERVATION ADMIT", "URGENT", "DIRECT EMER.", "ELECTIVE")
_FROM = ("EMERGENCY ROOM", "EMERGENCY ROOM", "PHYSICIAN REFERRAL", "TRANSFER FROM HOSPITAL")
_HOME = ("HOME", "HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY", "REHAB", "")
_INSURANCE = ("Other", "Other", "Medicare", "Medicare", "Medicaid")
_LANGUAGE = ("ENGLISH",) * 9 + ("?",)
_MARRIED = ("SINGLE", "MARRIED", "MARRIED", "WIDOWED", "DIVORCED", "")
_RACE = ("WHITE",) * 6 + (
    "BLACK/AFRICAN AMERICAN",
    "HISPANIC/LATINO - PUERTO RICAN",
    "ASIAN - CHINESE",
    "UNKNOWN",
)

Row = Sequence[Any]


class Tables:
    """The open source folder: one gzipped CSV a table, written as it comes, with no time in it."""

    def __init__(self, folder: Path) -> None:
        self._open = ExitStack()
        self._writers: dict[str, Any] = {}
        self.rows: dict[str, int] = {}
        for name, columns in COLUMNS.items():
            path = folder / f"{name}.csv.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = self._open.enter_context(path.open("wb"))
            packed = igzip.IGzipFile(fileobj=raw, filename="", mode="wb", compresslevel=1, mtime=0)  # type: ignore[no-untyped-call]
            self._open.callback(packed.close)
            text = io.TextIOWrapper(packed, encoding="utf-8", newline="", write_through=False)
            self._open.callback(text.flush)
            self._writers[name] = csv.writer(text, lineterminator="\n")
            self._writers[name].writerow(columns.split())
            self.rows[name] = 0

    def add(self, name: str, rows: Iterable[Row]) -> None:
        """Write rows to a table; None is an empty field."""
        listed = list(rows)
        self._writers[name].writerows(listed)
        self.rows[name] += len(listed)

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def dictionaries(catalog: Catalog) -> dict[str, list[Row]]:
    """The rows of the tables that explain codes and items."""
    diagnoses: dict[tuple[str, int], str] = {}
    for condition in catalog.conditions:
        for version, groups in condition.groups.items():
            diagnoses |= {(code.code, version): code.title for group in groups for code in group}
    diagnoses |= {(code, 10): title for code, title in catalog.icd10_categories.items()} | diagnoses
    procedures = {
        (code.code, version): code.title
        for procedure in catalog.procedures
        for version, codes in procedure.codes.items()
        for code in codes
    }
    return {
        "hosp/d_icd_diagnoses": [(*key, title) for key, title in sorted(diagnoses.items())],
        "hosp/d_icd_procedures": [(*key, title) for key, title in sorted(procedures.items())],
        "icu/d_items": [
            (item, label, label, "procedureevents", category, "None", "Processes", None, None)
            for item, label, category in _ITEMS
        ],
    }


def patient_rows(patients: Patients, stays: Stays) -> Iterator[Row]:
    """Rows of hosp/patients."""
    columns = (stays.subject_id, patients.sex, stays.anchor_age, stays.anchor_year)
    for row, (subject, sex, age, year) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        dod = stays.dod[row]
        death = None if np.isnat(dod) else str(dod)
        yield subject, SEXES[sex], age, year, stays.year_group[row], death


def admission_rows(seed: int, admissions: Admissions, stays: Stays) -> Iterator[Row]:
    """Rows of hosp/admissions."""
    uniform = draws.uniforms(seed, "desk", admissions.key, 6)
    # what a person keeps over admissions is drawn by the key of the first
    person = draws.uniforms(
        seed, "register", admissions.key - admissions.place.astype(np.uint64), 3
    )
    for row in range(len(admissions)):
        visit, kept = uniform[row], person[row]
        admitted, discharged = stays.admitted[row], stays.discharged[row]
        died = bool(stays.died[row])
        kind = _of(_TYPES, visit[0])
        emergency = kind == "EW EMER."
        registered = admitted - np.timedelta64(60 + int(visit[4] * 400), "m")
        yield (
            int(stays.subject_id[admissions.patient[row]]),
            int(stays.hadm_id[row]),
            clock(admitted),
            clock(discharged),
            clock(discharged) if died else None,
            kind,
            f"P{int(visit[5] * 36**4) % 10000:04d}A",
            "EMERGENCY ROOM" if emergency else _of(_FROM, visit[1]),
            "DIED" if died else _of(_HOME, visit[2]),
            _of(_INSURANCE, kept[0]),
            _of(_LANGUAGE, kept[1]),
            _of(_MARRIED, visit[3]),
            _of(_RACE, kept[2]),
            clock(registered) if emergency else None,
            clock(admitted + np.timedelta64(45, "m")) if emergency else None,
            int(died),
        )


def code_rows(
    subject: int, hadm: int, version: int, codes: Sequence[Code], day: str | None = None
) -> Iterator[Row]:
    """Rows of diagnoses_icd, or with a day of procedures_icd, of one admission."""
    for place, code in enumerate(codes, 1):
        if day is None:
            yield subject, hadm, place, code.code, version
        else:
            yield subject, hadm, place, day, code.code, version


def intensive_rows(seed: int, admissions: Admissions, stays: Stays) -> tuple[list[Row], list[Row]]:
    """Rows of icu/icustays and icu/procedureevents."""
    uniform = draws.uniforms(seed, "unit", admissions.key, 6)
    stay_rows: list[Row] = []
    event_rows: list[Row] = []
    for row in np.flatnonzero(stays.intensive):
        ids = (
            int(stays.subject_id[admissions.patient[row]]),
            int(stays.hadm_id[row]),
            int(stays.stay_id[row]),
        )
        start = stays.admitted[row] + np.timedelta64(15, "m")
        minutes = int(stays.intensive_minutes[row])
        end = start + np.timedelta64(minutes, "m")
        unit = _of(_UNITS, uniform[row, 0])
        stay_rows.append((*ids, unit, unit, clock(start), clock(end), round(minutes / 1440, 10)))
        tube = int(stays.ventilated_minutes[row]) if stays.ventilated[row] else 0
        event_rows += _events(ids, start, minutes, tube, uniform[row])
    return stay_rows, event_rows


def clock(minute: np.datetime64) -> str:
    """A minute as MIMIC writes it: 2180-05-06 22:23:00."""
    return f"{str(minute).replace('T', ' ')}:00"


def _events(
    ids: tuple[int, int, int], start: np.datetime64, minutes: int, tube: int, uniform: Floats
) -> Iterator[Row]:
    caregiver, weight = 10_000 + int(uniform[1] * 89_999), round(50 + 60 * float(uniform[2]), 1)
    planned = [(225459, 1, "None", "Imaging", "Task", 20)]
    if tube:
        planned.append((225792, tube, "min", "Ventilation", "ContinuousProcess", 30))
        planned.append((227194, 1, "None", "Intubation/Extubation", "Task", 30 + tube))
    elif uniform[3] < 0.2:
        planned.append(
            (225794, min(240, minutes - 60), "min", "Ventilation", "ContinuousProcess", 40)
        )
    if uniform[4] < 0.3:
        planned.append((225752, minutes - 60, "min", "Invasive Lines", "ContinuousProcess", 50))
    for place, (item, value, unit, category, kind, after) in enumerate(planned):
        begin = start + np.timedelta64(after, "m")
        end = begin + np.timedelta64(value, "m")
        order = (ids[2] * 8 + place) % 9_999_991
        site = ("Left Radial", "Invasive Arterial") if item == 225752 else (None, None)
        times = (clock(begin), clock(end), clock(end))
        order_columns = (order, order, category, kind, weight)
        state = (int(kind != "Task"), 0, "FinishedRunning", value, int(kind != "Task"))
        yield (*ids, caregiver, *times, item, value, unit, *site, *order_columns, *state)


def _of(options: Sequence[str], uniform: float) -> str | None:
    return options[int(uniform * len(options))] or None
