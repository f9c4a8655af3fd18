"""Writes the rows of a generated MIMIC-IV to the tables and columns of MIMIC-III 1.4.

It takes the same rows as `hospital.Tables`, and adds what only MIMIC-III has: addenda, nursing
notes, notes marked as errors, newborns, dates of birth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tasks.synth.draws import pick
from tasks.synth.hospital import COLUMNS, Row, Tables, weighted
from tasks.synth.newborns import NEWBORN_CODE, Newborns
from tasks.synth.notes_iii import (
    addendum,
    nursing_note,
    placeholders,
    plain_day,
    restyled,
    summary_iii,
)
from tasks.synth.phrases import from_yaml
from tasks.synth.release import MIMIC_III

TABLES: dict[str, str] = from_yaml("tables.yaml")["mimic_iii"]
_VENTILATION = "ventilation_durations.csv"
_INVASIVE = 225792
_ELECTIVE = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
_URGENT = ("URGENT", "DIRECT EMER.")
_RELIGIONS = weighted("religions")
_UNITS = {"Medical": "MICU", "Surgical": "SICU", "Coronary": "CCU", "Trauma": "TSICU"}
_ADDENDUM_SHARE, _ERROR_SHARE = 0.08, 0.01
_PAUSE = np.timedelta64(8, "h")
_HIDDEN_YEARS = 300  # how far back the birth of a patient over 89 is put

Named = dict[str, Any]


class MimicThree:
    """The open folder of MIMIC-III's tables; `add` takes MIMIC-IV's rows, patients first."""

    def __init__(self, folder: Path, seed: int, shared: int = 0) -> None:
        self._tables = Tables(folder, TABLES)
        self._seed = seed
        self._patients: list[Named] = []
        self._stays: dict[int, Named] = {}  # admissions of the chunk by hadm_id
        self._age: dict[int, int] = {}  # at the first admission, by subject_id
        self._unit_ids: dict[int, int] = {}  # of the chunk's ICU stays: MIMIC-IV's, MIMIC-III's
        self._newborns = Newborns(seed)
        self._shared = shared  # patients still to come whose notes are MIMIC-IV's, word for word
        self._verbatim: set[int] = set()  # those of the chunk, by subject_id

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each table so far."""
        return self._tables.rows

    def add(self, name: str, rows: Iterable[Row]) -> None:
        """Write rows of that MIMIC-IV table to the MIMIC-III tables that hold them."""
        named = [dict(zip(COLUMNS[name].split(), row, strict=True)) for row in rows]
        match name:
            case "hosp/patients":
                self._patients = named
                self._age = {row["subject_id"]: row["anchor_age"] for row in named}
                self._verbatim = {row["subject_id"] for row in named[: self._shared]}
                self._shared -= len(self._verbatim)
            case "hosp/admissions":
                self._stays = {row["hadm_id"]: row for row in named}
                self._put("ADMISSIONS", map(self._admission, named))
                self._put("PATIENTS", self._patient_rows())
                for table, added in self._newborns.after(len(self._patients)):
                    self._put(table, added)
            case "hosp/d_icd_diagnoses":
                self._put("D_ICD_DIAGNOSES", [*_titles(named), _title(*NEWBORN_CODE)])
            case "hosp/d_icd_procedures":
                self._put("D_ICD_PROCEDURES", _titles(named))
            case "hosp/diagnoses_icd" | "hosp/procedures_icd":
                self._put(name.removeprefix("hosp/").upper(), map(_code, named))
            case "icu/icustays":
                first = self.rows["ICUSTAYS"]
                self._unit_ids = {row["stay_id"]: first + n for n, row in enumerate(named)}
                self._put("ICUSTAYS", map(self._unit, named))
                self._put("NOTEEVENTS", map(self._nursing, named))
            case "icu/procedureevents":
                self._tables.add(_VENTILATION, self._ventilation(named))
            case "note/discharge":
                self._put("NOTEEVENTS", (note for row in named for note in self._summaries(row)))
            case "note/radiology":
                self._put("NOTEEVENTS", map(self._report, named))

    def __enter__(self) -> MimicThree:
        return self

    def __exit__(self, *error: object) -> None:
        self._tables.__exit__(*error)

    def _put(self, table: str, rows: Iterable[Row]) -> None:
        first = self.rows[table] + 1
        self._tables.add(table, ((first + number, *row) for number, row in enumerate(rows)))

    def _admission(self, row: Named) -> Row:
        draw = self._draw("desk", row["hadm_id"])
        times = (row["admittime"], row["dischtime"], row["deathtime"])
        home = "DEAD/EXPIRED" if row["deathtime"] else row["discharge_location"] or "HOME"
        locations = (row["admission_location"], home)
        person = (row["insurance"], "ENGL" if row["language"] == "ENGLISH" else None)
        faith = pick(_RELIGIONS, draw.random())
        married = (faith, row["marital_status"], row["race"])
        emergency = (row["edregtime"], row["edouttime"], "ADMITTED")
        ids = (row["subject_id"], row["hadm_id"])
        flags = (row["hospital_expire_flag"], 1)
        return (*ids, *times, _kind(row), *locations, *person, *married, *emergency, *flags)

    def _patient_rows(self) -> Iterator[Row]:
        first: dict[int, str] = {}
        for stay in self._stays.values():  # in order of time
            first.setdefault(stay["subject_id"], stay["admittime"][:10])
        inside = {s["subject_id"] for s in self._stays.values() if s["hospital_expire_flag"]}
        for row in self._patients:
            subject, day = row["subject_id"], first[row["subject_id"]]
            if row["anchor_age"] > 89:
                born = f"{int(day[:4]) - _HIDDEN_YEARS}{day[4:8]}01"
            else:
                year = np.datetime64(f"{row['anchor_year'] - row['anchor_age']}-01-01")
                born = str(year + int(self._draw("birth", subject).random() * 365))
            dod = f"{row['dod']} 00:00:00" if row["dod"] else None
            deaths = (dod, None) if subject in inside else (None, dod)
            yield subject, row["gender"], f"{born} 00:00:00", dod, *deaths, int(dod is not None)

    def _unit(self, row: Named) -> Row:
        unit = _UNITS[row["first_careunit"].split("/")[0].split()[0]]
        ids = (row["subject_id"], row["hadm_id"], self._unit_id(row["stay_id"]))
        days = round(row["los"], 4)
        return (*ids, "metavision", unit, unit, 12, 12, row["intime"], row["outtime"], days)

    def _unit_id(self, stay_id: int) -> int:
        return 200_000 + self._unit_ids[stay_id] * 61_537 % MIMIC_III.prime

    def _ventilation(self, events: list[Named]) -> Iterator[Row]:
        """Durations as mimic-code derives them: a pause under eight hours does not count."""
        invasive = (row for row in events if row["itemid"] == _INVASIVE)
        for stay_id, rows in groupby(invasive, key=lambda row: int(row["stay_id"])):
            spans: list[list[np.datetime64]] = []
            for row in rows:
                start, end = (np.datetime64(row[name]) for name in ("starttime", "endtime"))
                if spans and start - spans[-1][1] < _PAUSE:
                    spans[-1][1] = end
                else:
                    spans.append([start, end])
            for number, (start, end) in enumerate(spans, 1):
                times = (str(time).replace("T", " ") for time in (start, end))
                hours = round(float((end - start) / np.timedelta64(1, "h")), 4)
                yield self._unit_id(stay_id), number, *times, hours

    def _summaries(self, row: Named) -> Iterator[Row]:
        """The discharge summary; for some an addendum, for a few first one entered in error."""
        stay, draw = self._stays[row["hadm_id"]], self._draw("note", row["hadm_id"])
        erroneous, added = draw.random() < _ERROR_SHARE, draw.random() < _ADDENDUM_SHARE
        day, admitted = stay["dischtime"][:10], stay["admittime"][:10]
        text = summary_iii(row["text"], self._age[row["subject_id"]], admitted, day, draw)
        if row["subject_id"] not in self._verbatim:
            text = restyled(text, draw)
        ids = (row["subject_id"], row["hadm_id"], day, None, None, "Discharge summary")
        if erroneous:
            yield *ids, "Report", None, 1, text[: len(text) // 3]
        yield *ids, "Report", None, None, text
        if added:
            yield *ids, "Addendum", None, None, addendum(draw)

    def _report(self, row: Named) -> Row:
        time, draw = row["charttime"], self._draw("report", row["note_id"])
        text = placeholders(row["text"], self._age[row["subject_id"]], draw)
        exam = text.split("\n", 1)[0].removeprefix("EXAMINATION:").strip()
        erroneous = 1 if draw.random() < _ERROR_SHARE else None
        ids = (row["subject_id"], row["hadm_id"], time[:10], time, None, "Radiology", exam)
        clip = f"Clip # [**Clip Number (Radiology) {1 + int(draw.random() * 999)}**]"
        return (*ids, None, erroneous, f"[**{plain_day(time[:10])}**] {exam}  {clip}\n{text}")

    def _nursing(self, row: Named) -> Row:
        time, draw = row["intime"], self._draw("nursing", row["stay_id"])
        erroneous = 1 if draw.random() < _ERROR_SHARE else None
        ids = (row["subject_id"], row["hadm_id"], time[:10], time, time, "Nursing/other", "Report")
        return (*ids, 14_000 + int(draw.random() * 7_000), erroneous, nursing_note(draw))

    def _draw(self, stream: str, key: object) -> Random:
        return Random(f"{self._seed}/iii {stream}/{key}")


def _kind(row: Named) -> str:
    """The admission type; MIMIC-III knows no observation stays."""
    if row["admission_type"] in _ELECTIVE:
        return "ELECTIVE"
    return "URGENT" if row["admission_type"] in _URGENT else "EMERGENCY"


def _code(row: Named) -> Row:
    return row["subject_id"], row["hadm_id"], row["seq_num"], row["icd_code"]


def _titles(rows: Iterable[Named]) -> list[Row]:
    return [_title(row["icd_code"], row["long_title"]) for row in rows if row["icd_version"] == 9]


def _title(code: str, title: str) -> Row:
    return code, title[:24], title
