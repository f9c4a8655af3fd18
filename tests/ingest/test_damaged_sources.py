"""A damaged table or OMOP export is refused, or read without its bad rows; no value is told."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tasks import tables
from tasks.errors import ClinfuseError
from tasks.guard import guarded
from tasks.ingest.config import IngestConfig
from tasks.schemas import REJECTS
from tests.ingest.test_omop import ingested as ingested_omop
from tests.ingest.test_own_table import ingested as ingested_table

SECRET = "Quonvestible"  # in every value that is words
NUMBER = 987650000  # in every identifier that is a number: told as little
PATIENTS = 12
Columns = dict[str, list[Any]]
Damage = Callable[[Path], None]


def said(error: BaseException) -> str:
    """All that a log could hold of an error, what it was raised from among it."""
    return "".join(traceback.format_exception(error)) + repr(vars(error))


def told_by(work: Callable[[], Any], out: Path) -> str:
    """What reading a source says: its error, and its rejected rows. Anything else is a success."""
    try:
        guarded("ingest", work)
    except ClinfuseError as error:
        return said(error)
    parts = out.rglob("rejects/*.parquet")
    return str([tables.read(part, REJECTS).to_pylist() for part in parts])


def table_of_texts(*, words: bool) -> Columns:
    rows = range(PATIENTS)
    return {
        "id": [f"{SECRET}/{row}" if words else NUMBER + row for row in rows],
        "patient": [f"{SECRET}-{row}" if words else NUMBER + row for row in rows],
        "time": [f"20{10 + row}-01-02 10:00:00" for row in rows],
        "text": [f"{SECRET} had fever on day {row}" for row in rows],
        "codes": [f"{SECRET};B" for _ in rows],
        "flu": [row % 2 for row in rows],
    }


def table_config(path: Path, share: float) -> IngestConfig:
    outcomes = [
        {"kind": "labels", "name": "codes", "column": "codes", "min_count": 1},
        {"kind": "labels", "name": "flu", "flags": ["flu"], "min_count": 1},
    ]
    source = {"kind": "table", "path": path, "time": "time"}
    return IngestConfig.model_validate(
        {"source": source, "view": "full", "outcomes": outcomes, "max_reject_share": share}
    )


def replaced(old: bytes, new: bytes, count: int = 1) -> Damage:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, count))

    return damage


def cell(name: str, value: Any) -> Damage:
    """The third row of a Parquet file's column has another value."""

    def damage(path: Path) -> None:
        table = pq.read_table(path)
        index = table.column_names.index(name)
        values = table[name].to_pylist()
        values[2] = value
        pq.write_table(table.set_column(index, name, pa.array(values)), path)

    return damage


def column(name: str, make: Callable[[list[Any]], pa.Array]) -> Damage:
    """A Parquet file's column is of another type."""

    def damage(path: Path) -> None:
        table = pq.read_table(path)
        index = table.column_names.index(name)
        pq.write_table(table.set_column(index, name, make(table[name].to_pylist())), path)

    return damage


def without_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().partition(b"\n")[2])


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def of_bytes(values: list[Any]) -> pa.Array:
    return pa.array([str(value).encode() + b"\xff" for value in values])


def nested(values: list[Any]) -> pa.Array:
    return pa.array([{"value": [str(value)]} for value in values])


def lists(values: list[Any]) -> pa.Array:
    return pa.array([[str(value)] for value in values])


def floats(values: list[Any]) -> pa.Array:
    return pa.array([row + 0.25 for row, _ in enumerate(values)])


CSV: dict[str, Damage] = {
    "bytes that are no UTF-8 in a text": replaced(b"fever on day 3", b"fe\xffver on day 3"),
    "bytes that are no UTF-8 in many texts": replaced(b"fever", b"fe\xff\xfever", PATIENTS),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "a quote that does not end": replaced(b'day 4"', b"day 4"),
    "a cell too many": replaced(b'day 4"', b'day 4","' + SECRET.encode() + b'"'),
    "a zero byte": replaced(b"fever on day 5", b"fe\0ver on day 5"),
    "a time in words": replaced(b"2013-01-02 10:00:00", f"the day of {SECRET}".encode()),
    "a flag in words": replaced(b",1\n", f",{SECRET}\n".encode()),
    "no header": without_header,
    "semicolons": lambda path: path.write_bytes(path.read_bytes().replace(b",", b";")),
    "the end is missing": cut_off,
    "compressed by half": lambda path: path.write_bytes(gzip.compress(path.read_bytes())[:-40]),
}
PARQUET: dict[str, Damage] = {
    "bytes as texts": column("text", of_bytes),
    "nested texts": column("text", nested),
    "lists of texts": column("text", lists),
    "bytes as ids": column("id", of_bytes),
    "nested ids": column("id", nested),
    "fractions as patients": column("patient", floats),
    "nested labels": column("codes", nested),
    "bytes as labels": column("codes", of_bytes),
    "fractions as flags": column("flu", floats),
    "a time in words": cell("time", f"the day of {SECRET}"),
    "fractions as times": column("time", floats),
    "the end is missing": cut_off,
}


@pytest.mark.parametrize("words", [True, False], ids=["words", "numbers"])
@pytest.mark.parametrize(
    ("form", "damage"),
    [("csv", damage) for damage in CSV] + [("parquet", damage) for damage in PARQUET],
)
def test_of_a_damaged_table_no_value_is_told(
    tmp_path: Path, form: str, damage: str, words: bool
) -> None:
    path = tmp_path / f"notes.{form}"
    made = pa.table(table_of_texts(words=words))
    pacsv.write_csv(made, path) if form == "csv" else pq.write_table(made, path)
    (CSV if form == "csv" else PARQUET)[damage](path)
    for share in (0.0, 0.9):
        out = tmp_path / f"out-{share}"
        told = told_by(partial(ingested_table, table_config(path, share), out), out)
        assert SECRET not in told
        assert str(NUMBER)[:-2] not in told


OMOP: dict[str, Columns] = {
    "person": {
        "person_id": [NUMBER + row for row in range(PATIENTS)],
        "gender_concept_id": [8507, 8532] * (PATIENTS // 2),
        "year_of_birth": [1960] * PATIENTS,
    },
    "visit_occurrence": {
        "visit_occurrence_id": [NUMBER + row for row in range(PATIENTS)],
        "person_id": [NUMBER + row for row in range(PATIENTS)],
        "visit_concept_id": [9201] * PATIENTS,
        "visit_start_date": ["2019-03-04"] * PATIENTS,
        "visit_end_date": ["2019-03-09"] * PATIENTS,
        "discharged_to_concept_id": [4216643, 0, 0, 0] * (PATIENTS // 4),
    },
    "note": {
        "note_id": [NUMBER + row for row in range(PATIENTS)],
        "person_id": [NUMBER + row for row in range(PATIENTS)],
        "visit_occurrence_id": [NUMBER + row for row in range(PATIENTS)],
        "note_date": ["2019-03-04"] * PATIENTS,
        "note_title": [f"Summary of {SECRET}"] * PATIENTS,
        "note_text": [f"{SECRET} had fever on day {row}" for row in range(PATIENTS)],
    },
    "death": {
        "person_id": [NUMBER + row for row in range(0, PATIENTS, 4)],
        "death_date": ["2019-03-09"] * (PATIENTS // 4),
    },
    "condition_occurrence": {
        "person_id": [NUMBER + row for row in range(PATIENTS)],
        "visit_occurrence_id": [NUMBER + row for row in range(PATIENTS)],
        "condition_source_value": ["I10"] * PATIENTS,
        "condition_source_concept_id": [7] * PATIENTS,
    },
    "concept": {
        "concept_id": [7],
        "vocabulary_id": ["ICD10CM"],
        "concept_code": ["I10"],
    },
}


def omop_config(folder: Path, share: float) -> IngestConfig:
    source = {"kind": "omop", "path": folder, "notes": {"titles": ["*summary*"]}}
    outcomes = [
        {"kind": "mortality", "predict_at": 24},
        {"kind": "diagnoses", "predict_at": 24, "min_count": 1},
    ]
    view = {"kind": "early", "before_hours": 24}
    return IngestConfig.model_validate(
        {"source": source, "view": view, "outcomes": outcomes, "max_reject_share": share}
    )


OMOP_PARQUET: dict[str, tuple[str, Damage]] = {
    "bytes as texts": ("note", column("note_text", of_bytes)),
    "nested texts": ("note", column("note_text", nested)),
    "bytes as titles": ("note", column("note_title", of_bytes)),
    "nested titles": ("note", column("note_title", nested)),
    "words as persons": ("note", column("person_id", lambda v: pa.array([SECRET] * len(v)))),
    "a note twice": ("note", cell("note_id", NUMBER)),
    "words as a person": ("person", column("person_id", lambda v: pa.array([SECRET] * len(v)))),
    "a year of nobody": ("person", cell("year_of_birth", 10**9)),
    "words as years": ("person", column("year_of_birth", lambda v: pa.array([SECRET] * len(v)))),
    "words as visits": (
        "visit_occurrence",
        column("visit_occurrence_id", lambda v: pa.array([SECRET] * len(v))),
    ),
    "a start in words": ("visit_occurrence", cell("visit_start_date", SECRET)),
    "a nested end": ("visit_occurrence", column("visit_end_date", nested)),
    "a death in words": ("death", cell("death_date", SECRET)),
    "fractions as the dead": ("death", column("person_id", floats)),
    "bytes as codes": ("condition_occurrence", column("condition_source_value", of_bytes)),
    "nested codes": ("condition_occurrence", column("condition_source_value", nested)),
    "words as concepts": ("concept", column("concept_id", lambda v: pa.array([SECRET] * len(v)))),
    "nested vocabularies": ("concept", column("vocabulary_id", nested)),
    "notes cut off": ("note", cut_off),
    "concepts cut off": ("concept", cut_off),
}
OMOP_CSV: dict[str, tuple[str, Damage]] = {
    "bytes that are no UTF-8": ("note", replaced(b"fever", b"fe\xffver", PATIENTS)),
    "a quote that does not end": ("note", replaced(b'day 4"', b"day 4")),
    "notes without header": ("note", without_header),
    "persons without header": ("person", without_header),
    "visits without header": ("visit_occurrence", without_header),
    "a visit in words": ("visit_occurrence", replaced(b"9201", SECRET.encode(), 3)),
    "deaths without header": ("death", without_header),
    "a date in words": ("death", replaced(b"2019-03-09", SECRET.encode())),
    "codes without header": ("condition_occurrence", without_header),
    "concepts in words": ("concept", replaced(b"7,", SECRET.encode() + b",")),
    "concepts that are no UTF-8": ("concept", replaced(b"I10", SECRET.encode() + b"\xff")),
    "concepts without header": ("concept", without_header),
}


@pytest.mark.parametrize(
    ("form", "damage"),
    [("csv", damage) for damage in OMOP_CSV] + [("parquet", damage) for damage in OMOP_PARQUET],
)
def test_of_a_damaged_export_no_value_is_told(tmp_path: Path, form: str, damage: str) -> None:
    folder = tmp_path / "cdm"
    folder.mkdir()
    for name, columns in OMOP.items():
        path = folder / f"{name}.{form}"
        made = pa.table(columns)
        pacsv.write_csv(made, path) if form == "csv" else pq.write_table(made, path)
    table, make = (OMOP_CSV if form == "csv" else OMOP_PARQUET)[damage]
    make(folder / f"{table}.{form}")
    for share in (0.0, 0.9):
        out = tmp_path / f"out-{share}"
        told = told_by(partial(ingested_omop, omop_config(folder, share), out), out)
        assert SECRET not in told
        assert str(NUMBER)[:-2] not in told


def test_what_is_not_damaged_is_read(tmp_path: Path) -> None:
    """Without this, errors that tell nothing would prove little: the same sources, whole."""
    path = tmp_path / "notes.parquet"
    pq.write_table(pa.table(table_of_texts(words=True)), path)
    made = ingested_table(table_config(path, 0.0), tmp_path / "table")
    assert made["cohort"].num_rows == PATIENTS
    folder = tmp_path / "cdm"
    folder.mkdir()
    for name, columns in OMOP.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    read = ingested_omop(omop_config(folder, 0.0), tmp_path / "omop")
    assert read["cohort"].num_rows == PATIENTS
