"""Every section of the cohort's discharge notes, also those that are written at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks import tables
from tasks.ingest.rows import row_of
from tasks.ingest.sections import SECTIONS as AT_ADMISSION
from tasks.ingest.sections import all_sections
from tasks.schemas import ADMISSIONS, NOTES, SECTIONS
from tasks.shards import Spread, one_by_one

_NOTES_AT_ONCE = 512


def write_sections(
    out: Path, notes: Path, cohort: Path, spread: Spread = one_by_one
) -> dict[str, int]:
    """Cut the notes of the cohort's admissions: the table sections, a part for each of the notes'.

    A note of another patient than the admission's is passed over, as in the cohort.
    """
    parts = tables.parts(notes / "notes")
    found = spread(cut_part, [{"out": out, "part": part, "cohort": cohort} for part in parts])
    admissions = tables.rows(cohort / "admissions")
    return {"admissions": admissions, "sections": sum(each["sections"] for each in found)}


def cut_part(out: Path, part: Path, cohort: Path) -> dict[str, int]:
    """Cut one part of the notes into the part of the same name."""
    admissions = tables.read(cohort / "admissions", ADMISSIONS, ["hadm_id", "subject_id"])
    batches = _cut(part, admissions)
    return {"sections": tables.write(out / "sections" / part.name, SECTIONS, batches)}


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
