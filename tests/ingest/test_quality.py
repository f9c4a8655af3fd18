"""What is odd about a source is counted."""

from __future__ import annotations

from pathlib import Path

from tasks import tables
from tasks.ingest.write import write_notes, write_quality
from tasks.schemas import QUALITY
from tests.ingest.conftest import SmallSource


def test_each_oddity_is_counted_where_it_is(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.patient(2, anchor_age=150)
    source.admission(1, 101)
    source.admission(1, 102, note=None, dischtime="2151-01-01 10:00:00")
    source.admission(2, 103)
    source.admission(9, 104, note=None)
    source.note(1, 103, "Of another patient.", seq=2)
    source.note(1, 999, "Of no admission.", seq=3)
    source.note(1, 101, "Twice.")  # its note_id is taken
    source.code("diagnoses_icd", 1, 101, ("I10", 10), ("I10", 11))
    source.code("diagnoses_icd", 1, 103, ("I10", 10))
    source.code("diagnoses_icd", 1, 998, ("I10", 10))
    source.write()
    write_notes(tmp_path / "notes", source.files("discharge", share=1).open("discharge"))
    files = source.files("admissions", "patients", "diagnoses", "procedures", share=1)
    counts = write_quality(tmp_path / "quality", {"discharge": tmp_path / "notes"}, files)
    rows = tables.read(tmp_path / "quality" / "quality", QUALITY).to_pylist()
    hits = {(row["table"], row["column"], row["check"]): row["count"] for row in rows}
    assert counts["checks"] == len(rows)
    expected = {
        ("admissions", "subject_id", "is in no row of patients"): 1,
        ("admissions", "dischtime", "is before admittime"): 1,
        ("admissions", "admittime", "gives an age outside 0 to 120"): 1,
        ("admissions", "hadm_id", "has no row of diagnoses"): 2,
        ("admissions", "hadm_id", "has no row of procedures"): 4,
        ("admissions", "hadm_id", "has no row of discharge"): 2,
        ("diagnoses", "hadm_id", "is in no row of admissions"): 1,
        ("diagnoses", "subject_id", "is not the admission's"): 1,
        ("diagnoses", "icd_version", "is neither 9 nor 10 (rejected)"): 1,
        ("discharge", "hadm_id", "is in no row of admissions"): 1,
        ("discharge", "subject_id", "is not the admission's"): 1,
        ("discharge", "note_id", "occurs twice (rejected)"): 1,
        ("discharge", "hadm_id", "is empty"): 0,
    }
    assert {key: hits.get(key) for key in expected} == expected
    assert next(
        (row["table"], row["rows"]) for row in rows if row["check"] == "occurs twice (rejected)"
    ) == ("discharge", 5)
