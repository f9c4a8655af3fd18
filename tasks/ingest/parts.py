"""Every section of the cohort's discharge notes, also those that are written at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks import tables
from tasks.ingest.cohort import row_of
from tasks.ingest.sections import SECTIONS as AT_ADMISSION
from tasks.ingest.sections import all_sections
from tasks.schemas import ADMISSIONS, NOTES, SECTIONS

_NOTES_AT_ONCE = 512


def write_sections(out: Path, notes: Path, cohort: Path) -> dict[str, int]:
    """Cut the notes of the cohort's admissions: the table sections.

    A note of another patient than the admission's is passed over, as in the cohort.
    """
    admissions = tables.read(cohort / "admissions", ADMISSIONS, ["hadm_id", "subject_id"])
    batches = _cut(notes / "notes", admissions)
    rows = tables.write(out / "sections" / "part-0.parquet", SECTIONS, batches)
    return {"admissions": admissions.num_rows, "sections": rows}


def _cut(notes: Path, admissions: pa.Table) -> Iterator[pa.Table]:
    hadm_ids, subject_ids = (admissions[name].to_numpy() for name in ("hadm_id", "subject_id"))
    columns = ["subject_id", "hadm_id", "text"]
    for batch in tables.stream(notes, NOTES, columns, batch_rows=_NOTES_AT_ONCE):
        of_note = pc.fill_null(batch["hadm_id"], -1).to_numpy()
        rows = row_of(of_note, hadm_ids)
        kept = (rows >= 0) & (subject_ids[rows] == batch["subject_id"].to_numpy())
        chosen = batch.filter(pa.array(kept))
        found = [
            (hadm_id, section, section in AT_ADMISSION, text)
            for hadm_id, note in zip(
                chosen["hadm_id"].to_pylist(), chosen["text"].to_pylist(), strict=True
            )
            for section, text in all_sections(note)
        ]
        yield pa.table(list(zip(*found, strict=True)) or [()] * len(SECTIONS), schema=SECTIONS)
