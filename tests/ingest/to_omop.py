"""Writes a source in MIMIC-IV's layout as OMOP's tables: the same patients, for tests alone."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ingest.config import AdmissionView
from tasks.ingest.views import NoteView

Row = dict[str, Any]

_SEXES = {"M": 8507, "F": 8532}
_VOCABULARIES = {
    ("condition", "9"): "ICD9CM",
    ("condition", "10"): "ICD10CM",
    ("procedure", "9"): "ICD9Proc",
    ("procedure", "10"): "ICD10PCS",
}
SUMMARY, REPORT, ADMISSION = "Discharge summary", "Radiology report", "Admission note"
CONFIG = {"notes": {"titles": ["discharge *"]}, "radiology": {"titles": [REPORT]}}


def to_omop(
    mimic: Path,
    folder: Path,
    *,
    parquet: bool = False,
    concepts: bool = True,
    admission_notes: bool = False,
) -> Path:
    """Write the tables of OMOP's CDM 5.4 that hold what the source's do.

    With admission_notes also what each summary says of the admission, as a note of its first hours.

    Codes have made-up concepts of their vocabularies, in a CONCEPT with tabs, as Athena's; without
    it they stand in *_source_value alone.
    """
    folder.mkdir(parents=True)
    known: dict[tuple[str, str], int] = {}
    people, stays = _rows(mimic, "hosp/patients"), _rows(mimic, "hosp/admissions")
    summaries, reports = _rows(mimic, "note/discharge"), _rows(mimic, "note/radiology")
    admitted = {row["hadm_id"]: row["admittime"] for row in stays}
    early = [(_early(row, admitted), ADMISSION) for row in summaries] if admission_notes else []
    written = {
        "PERSON": [_person(row) for row in people],
        "DEATH": [
            {"person_id": row["subject_id"], "death_date": row["dod"]}
            for row in people
            if row["dod"]
        ],
        "VISIT_OCCURRENCE": [_visit(row) for row in stays],
        "NOTE": [
            _note(number, row, title)
            for number, (row, title) in enumerate(
                [(row, SUMMARY) for row in summaries] + [(row, REPORT) for row in reports] + early,
                start=1,
            )
        ],
        "CONDITION_OCCURRENCE": _codes(mimic, "diagnoses", "condition", known),
        "PROCEDURE_OCCURRENCE": _codes(mimic, "procedures", "procedure", known),
    }
    for name, rows in written.items():
        _write(folder, name, rows, parquet=parquet)
    if concepts:
        lines = ["concept_id\tconcept_name\tvocabulary_id\tconcept_code"]
        lines += [f'{n}\tA "name"\t{vocabulary}\t{code}' for (vocabulary, code), n in known.items()]
        (folder / "CONCEPT.csv").write_text("\n".join([*lines, "0\tnone\tSNOMED\t1"]) + "\n")
    return folder


def _person(row: Row) -> Row:
    born = int(row["anchor_year"]) - int(row["anchor_age"])
    return {
        "person_id": row["subject_id"],
        "gender_concept_id": _SEXES[row["gender"]],
        "year_of_birth": born,
        "race_concept_id": 8527,
    }


def _visit(row: Row) -> Row:
    """Where MIMIC's flag is empty, the table says nothing of the end."""
    to = {"1": 4216643, "0": 581476}.get(row["hospital_expire_flag"], 0)
    return {
        "visit_occurrence_id": row["hadm_id"],
        "person_id": row["subject_id"],
        "visit_concept_id": 9201,
        "visit_start_date": row["admittime"][:10],
        "visit_start_datetime": row["admittime"],
        "visit_end_date": row["dischtime"][:10],
        "visit_end_datetime": row["dischtime"],
        "discharged_to_concept_id": to,
    }


def _early(row: Row, admitted: dict[str, str]) -> Row:
    view = NoteView(AdmissionView())
    text = view.join([view.read(row["text"])])
    return {**row, "charttime": admitted[row["hadm_id"]], "text": text}


def _note(number: int, row: Row, title: str) -> Row:
    return {
        "note_id": number,
        "person_id": row["subject_id"],
        "visit_occurrence_id": row["hadm_id"],
        "note_date": row["charttime"][:10],
        "note_datetime": row["charttime"],
        "note_type_concept_id": 32831,
        "note_class_concept_id": 0,
        "note_title": title,
        "note_text": row["text"],
    }


def _codes(mimic: Path, table: str, prefix: str, known: dict[tuple[str, str], int]) -> list[Row]:
    made = []
    for row in _rows(mimic, f"hosp/{table}_icd"):
        concept = _VOCABULARIES[prefix, row["icd_version"]], row["icd_code"]
        made.append(
            {
                "person_id": row["subject_id"],
                "visit_occurrence_id": row["hadm_id"],
                f"{prefix}_source_value": row["icd_code"],
                f"{prefix}_source_concept_id": known.setdefault(concept, 1000 + len(known)),
            }
        )
    return made


def _rows(mimic: Path, table: str) -> list[Row]:
    with gzip.open(mimic / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(folder: Path, name: str, rows: list[Row], *, parquet: bool) -> None:
    if parquet:
        table = pa.Table.from_pylist(
            [{key: value or None for key, value in row.items()} for row in rows]
        )
        pq.write_table(table, folder / f"{name.lower()}.parquet")
        return
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [column.upper() for column in rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({column.upper(): value for column, value in row.items()} for row in rows)
