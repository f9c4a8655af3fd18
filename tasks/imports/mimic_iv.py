"""Writes clinical cases as the tables of MIMIC-IV: a patient and an admission a case.

Sex, age and dates, which the corpora do not list, are drawn from a hash of the case's name, so that
a case is the same patient in every import. They mean nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.ingest.outcomes.codes import SYSTEMS, Kind
from tasks.ingest.outcomes.ontology import icd_codes
from tasks.ingest.outcomes.titles import icd_titles
from tasks.synth.hospital import COLUMNS, Row, Tables

HEADING = "History of Present Illness:\n"  # ingest finds a section of the admission under it

# what a source must have, though it may be empty
_RELEASE = (
    "note/discharge",
    "hosp/patients",
    "hosp/admissions",
    "hosp/diagnoses_icd",
    "hosp/procedures_icd",
)
_EXPLAINED = ("hosp/d_icd_diagnoses", "hosp/d_icd_procedures")
_EMPTY = ("note/radiology", "icu/icustays", "icu/procedureevents")

_FIRST_SUBJECT, _FIRST_ADMISSION = 10_000_000, 20_000_000
_CATEGORY_CHARACTERS: dict[Kind, int] = {"diagnoses": 3, "procedures": 4}  # of ICD-10


@dataclass(frozen=True)
class Case:
    """A clinical case; its ICD-10 codes are in capitals, without dots.

    listed: its row in the corpus's own table of cases, without the subject_id.
    """

    name: str
    text: str
    listed: tuple[str, ...]
    diagnoses: tuple[str, ...] = ()
    procedures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The corpus's own table of its cases, by their names there: splits.csv or documents."""

    table: str
    columns: str  # separated by spaces


def write_unlabelled(folder: Path, cases: Iterable[Case], listing: Listing) -> dict[str, int]:
    """Write a release to pretrain on; returns the rows of each table."""
    with _tables(folder, _RELEASE, listing) as out:
        _write_cases(out, cases, listing)
    return out.rows


def write_labelled(folder: Path, cases: Sequence[Case], listing: Listing) -> dict[str, int]:
    """Write a source to train and test on, with titles of codes; returns the rows of each table."""
    with _tables(folder, (*_RELEASE, *_EXPLAINED, *_EMPTY), listing) as out:
        _write_cases(out, cases, listing)
        diagnoses = {code for case in cases for code in case.diagnoses}
        procedures = {code for case in cases for code in case.procedures}
        out.add("hosp/d_icd_diagnoses", _title_rows("diagnoses", diagnoses))
        out.add("hosp/d_icd_procedures", _title_rows("procedures", procedures))
    return out.rows


def _tables(folder: Path, names: Sequence[str], listing: Listing) -> Tables:
    columns = {name: COLUMNS[name] for name in names}
    return Tables(folder, columns | {listing.table: listing.columns})


def _write_cases(out: Tables, cases: Iterable[Case], listing: Listing) -> None:
    for number, case in enumerate(cases):
        stay = _Stay(_FIRST_SUBJECT + number, _FIRST_ADMISSION + number, case.name)
        out.add("hosp/patients", [stay.patient_row()])
        out.add("hosp/admissions", [stay.admission_row()])
        out.add("note/discharge", [stay.note_row(case.text)])
        diagnoses, procedures = enumerate(case.diagnoses, 1), enumerate(case.procedures, 1)
        ids = stay.subject_id, stay.hadm_id
        out.add("hosp/diagnoses_icd", [(*ids, seq, code, 10) for seq, code in diagnoses])
        day = stay.admitted[:10]
        out.add("hosp/procedures_icd", [(*ids, seq, day, code, 10) for seq, code in procedures])
        out.add(listing.table, [(stay.subject_id, *case.listed)])


def _title_rows(kind: Kind, codes: Iterable[str]) -> list[Row]:
    """Each code with its title where that is known, else its category's."""
    titles = {code: title for (version, code), title in icd_titles(kind).items() if version == 10}
    titles |= icd_codes()[SYSTEMS[kind][10]]
    length = _CATEGORY_CHARACTERS[kind]
    return [(code, 10, titles.get(code) or titles.get(code[:length])) for code in sorted(codes)]


@dataclass(frozen=True)
class _Stay:
    """A case's patient and admission, about a month long."""

    subject_id: int
    hadm_id: int
    name: str

    @property
    def admitted(self) -> str:
        day = f"{self._year}-{self._month:02}-{self._day:02}"
        return f"{day} {self._drawn('h', 24):02}:{self._drawn('mi', 60):02}:00"

    @property
    def discharged(self) -> str:
        return f"{self._year}-{self._month + 1:02}-{self._day:02} 12:00:00"

    def patient_row(self) -> Row:
        sex, age = "FM"[self._drawn("sex", 2)], 20 + self._drawn("age", 70)
        return self.subject_id, sex, age, self._year, "2014 - 2016", None

    def admission_row(self) -> Row:
        ids, times = (self.subject_id, self.hadm_id), (self.admitted, self.discharged)
        kind = "EW EMER.", None, "EMERGENCY ROOM", "HOME"
        return *ids, *times, None, *kind, "Other", "English", None, "UNKNOWN", None, None, 0

    def note_row(self, text: str) -> Row:
        ids = f"{self.subject_id}-DS-1", self.subject_id, self.hadm_id
        return *ids, "DS", 1, f"{self.admitted[:10]} 00:00:00", self.discharged, HEADING + text

    @property
    def _year(self) -> int:
        return 2150 + self._drawn("y", 30)

    @property
    def _month(self) -> int:
        return 1 + self._drawn("m", 11)  # the discharge is in the next month of the same year

    @property
    def _day(self) -> int:
        return 1 + self._drawn("day", 27)  # every month has it

    def _drawn(self, what: str, below: int) -> int:
        digest = hashlib.sha256(f"{self.name}|{what}".encode()).digest()
        return int.from_bytes(digest[:6], "big") % below
