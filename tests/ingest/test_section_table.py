"""The sections artifact: every section of the cohort's own notes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks import schemas, tables
from tasks.ingest.write import write_sections

NOTE = """Service: MEDICINE
Chief Complaint:
pain
Brief Hospital Course:
improved
Discharge Disposition:
Home
"""


def written(folder: Path, notes: list[tuple[int, int | None, str]]) -> list[dict[str, object]]:
    """The sections of these notes (subject_id, hadm_id, text); the cohort is patient 1's 11."""
    rows = [
        {"note_id": str(index), "subject_id": subject, "hadm_id": hadm, "text": text}
        | {"note_type": "DS"}
        for index, (subject, hadm, text) in enumerate(notes)
    ]
    admission = {"hadm_id": 11, "subject_id": 1, "split": "train", "note": "-"}
    for index, schema, listed in (
        ("notes/notes", schemas.NOTES, rows),
        ("cohort/admissions", schemas.ADMISSIONS, [admission]),
    ):
        table = pa.Table.from_pylist(listed, schema)
        tables.write(folder / index / "part-0.parquet", schema, table)
    counts = write_sections(folder / "out", folder / "notes", folder / "cohort")
    rows_read = tables.read(folder / "out" / "sections", schemas.SECTIONS).to_pylist()
    assert counts == {"admissions": 1, "sections": len(rows_read)}
    return rows_read


def test_every_section_and_whether_it_is_known_at_admission(tmp_path: Path) -> None:
    rows_read = {row["section"]: row for row in written(tmp_path, [(1, 11, NOTE)])}
    texts = {name: row["text"] for name, row in rows_read.items()}
    assert texts == {
        "SERVICE": "MEDICINE",
        "CHIEF COMPLAINT": "pain",
        "HOSPITAL COURSE": "improved",
        "DISCHARGE DISPOSITION": "Home",
    }
    assert [name for name, row in rows_read.items() if row["at_admission"]] == ["CHIEF COMPLAINT"]


def test_only_notes_of_the_cohort_and_of_its_own_patients(tmp_path: Path) -> None:
    others = [(2, 11, NOTE), (1, 12, NOTE), (1, None, NOTE)]
    assert written(tmp_path, others) == []


def test_an_addendum_adds_its_rows(tmp_path: Path) -> None:
    addendum = "Brief Hospital Course:\nand went home\n"
    rows_read = written(tmp_path, [(1, 11, NOTE), (1, 11, addendum)])
    course = [row["text"] for row in rows_read if row["section"] == "HOSPITAL COURSE"]
    assert course == ["improved", "and went home"]
