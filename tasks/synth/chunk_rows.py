"""Writes a chunk of the population into the source tables: patients, stays, codes and notes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np

from tasks.synth import draws, hospital, intensive, label_spaces
from tasks.synth.catalog import SEXES, Code
from tasks.synth.hospital import Row, Tables, clock
from tasks.synth.notes import Course, discharge_note
from tasks.synth.population import Chunk, World
from tasks.synth.radiology import radiology_report
from tasks.synth.to_mimic_iii import MimicThree

_MOST_CONDITIONS_A_REPORT = 4
_OUTSIDE_SHARE = 0.35  # radiology reports outside any admission


def write_chunk(
    out: Tables | MimicThree, world: World, seed: int, chunk: Chunk, leaks: bool = True
) -> None:
    """Append the rows of these patients to every table of the source, patients first."""
    admissions, stays = chunk.admissions, chunk.stays
    out.add("hosp/patients", hospital.patient_rows(chunk.patients, stays))
    out.add("hosp/admissions", hospital.admission_rows(seed, admissions, stays))
    diagnoses = _codes(world, seed, chunk, "diagnoses")
    procedures = _codes(world, seed, chunk, "procedures")
    out.add("hosp/diagnoses_icd", _code_rows(chunk, diagnoses, dated=False))
    out.add("hosp/procedures_icd", _code_rows(chunk, procedures, dated=True))
    unit_rows, event_rows = intensive.intensive_rows(seed, admissions, stays)
    out.add("icu/icustays", unit_rows)
    out.add("icu/procedureevents", event_rows)
    out.add("note/discharge", _discharge_rows(world, seed, chunk, diagnoses, procedures, leaks))
    out.add("note/radiology", _radiology_rows(world, seed, chunk))


def _codes(world: World, seed: int, chunk: Chunk, outcome: str) -> list[list[Code]]:
    """The full codes of each admission; none where it is not coded."""
    codes_of: list[list[Code]] = [[] for _ in range(len(chunk.admissions))]
    for labels in chunk.labels:
        if labels.space.outcome != outcome:
            continue
        chosen = label_spaces.full_codes(
            seed, labels.space, chunk.admissions, labels.rows, labels.drawn
        )
        for row, codes in zip(labels.rows, chosen, strict=True):
            codes_of[row] = codes
    return codes_of


def _code_rows(chunk: Chunk, codes: list[list[Code]], dated: bool) -> Iterator[Row]:
    """Rows of diagnoses_icd or, with a date, of procedures_icd."""
    stays = chunk.stays
    for row, listed in enumerate(codes):
        subject = int(stays.subject_id[chunk.admissions.patient[row]])
        day = (str(stays.admitted[row].astype("datetime64[D]")),) if dated else ()
        hadm, version = int(stays.hadm_id[row]), int(stays.version[row])
        for number, code in enumerate(listed, 1):
            yield subject, hadm, number, *day, code.code, version


def _discharge_rows(
    world: World,
    seed: int,
    chunk: Chunk,
    diagnoses: list[list[Code]],
    procedures: list[list[Code]],
    leaks: bool,
) -> Iterator[Row]:
    """The discharge notes; without leaks their later sections describe someone else's stay."""
    admissions, stays = chunk.admissions, chunk.stays
    sources = draws.sources(seed, "course", admissions.key)
    noted = np.flatnonzero(stays.noted)
    described = noted if leaks else np.roll(noted, len(noted) // 2)
    for row, stay in zip(noted, described, strict=True):
        subject = int(stays.subject_id[admissions.patient[row]])
        course = Course(
            conditions=np.flatnonzero(admissions.present[stay]).tolist(),
            diagnoses=[code.title for code in diagnoses[stay]],
            procedures=[code.title for code in procedures[stay]],
            died=bool(stays.died[stay]),
            ventilated=bool(stays.ventilated[stay]),
            days=int((stays.discharged[stay] - stays.admitted[stay]) / np.timedelta64(1, "D")),
        )
        sex = SEXES[admissions.sex[row]]
        text = discharge_note(world.catalog, chunk.sections[row], course, sex, sources[row])
        day = stays.discharged[row].astype("datetime64[D]")
        stored = stays.discharged[row] + np.timedelta64(1, "D")
        number = int(admissions.ordinal[row]) + 1
        note_id, hadm = f"{subject}-DS-{number}", int(stays.hadm_id[row])
        yield note_id, subject, hadm, "DS", number, f"{day} 00:00:00", clock(stored), text


def _radiology_rows(world: World, seed: int, chunk: Chunk) -> Iterator[Row]:
    stays, keys = chunk.stays, chunk.patients.index
    sources = draws.sources(seed, "radiology", keys)
    first = np.flatnonzero(chunk.admissions.ordinal == 0)
    for patient, draw in enumerate(sources):
        subject = int(stays.subject_id[patient])
        for number in range(1, 2 + int(draw.random() * 3)):
            row = int(first[patient] + draw.random() * chunk.patients.admissions[patient])
            outside = draw.random() < _OUTSIDE_SHARE
            days = draw.random() * (300 if outside else 1)
            taken = stays.admitted[row] + np.timedelta64(
                int(1440 * days * (-1 if outside else 1)), "m"
            )
            hadm = None if outside else int(stays.hadm_id[row])
            text = _report(world, chunk, row, draw)
            stored = clock(taken + np.timedelta64(45, "m"))
            note_id = f"{subject}-RR-{number}"
            yield note_id, subject, hadm, "RR", number, clock(taken), stored, text


def _report(world: World, chunk: Chunk, row: int, draw: Random) -> str:
    present = np.flatnonzero(chunk.admissions.present[row]).tolist()
    draw.shuffle(present)
    count = len(world.catalog.conditions)
    others = [int(draw.random() * count) for _ in range(1 + int(draw.random() * 2))]
    others = [other for other in others if other not in present]
    sex = "woman" if SEXES[chunk.admissions.sex[row]] == "F" else "man"
    chosen = present[:_MOST_CONDITIONS_A_REPORT]
    return radiology_report(world.catalog, chosen, others, sex, draw)
