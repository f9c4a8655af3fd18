"""All sections of the cohort's discharge notes, including those that are written at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tasks import tables
from tasks.ingest.lookup import match_admissions
from tasks.ingest.sections import SECTIONS as AT_ADMISSION
from tasks.ingest.sections import all_sections
from tasks.schemas import ADMISSIONS, NOTES, SECTIONS
from tasks.shards import Spread, one_by_one

_NOTES_AT_ONCE = 512


def write_sections(
    out: Path, notes: Path, cohort: Path, spread: Spread = one_by_one
) -> dict[str, int]:
    """Cut the notes of the cohort's admissions into the table sections, part by part.

    A note whose patient is not the admission's is skipped, as in the cohort.
    """
    parts = tables.parts(notes / "notes")
    counts = spread(cut_part, [{"out": out, "part": part, "cohort": cohort} for part in parts])
    admissions = tables.rows(cohort / "admissions")
    return {"admissions": admissions, "sections": sum(count["sections"] for count in counts)}


def cut_part(out: Path, part: Path, cohort: Path) -> dict[str, int]:
    """Cut one part of the notes into the part of the same name."""
    admissions = tables.read(cohort / "admissions", ADMISSIONS, ["hadm_id", "subject_id"])
    admissions = admissions.combine_chunks()
    batches = _cut(part, admissions)
    return {"sections": tables.write(out / "sections" / part.name, SECTIONS, batches)}


def _cut(notes: Path, admissions: pa.Table) -> Iterator[pa.Table]:
    columns = ["subject_id", "hadm_id", "text"]
    for batch in tables.stream(notes, NOTES, columns, batch_rows=_NOTES_AT_ONCE):
        _, same_patient = match_admissions(batch, admissions)
        kept = batch.filter(pa.array(same_patient))
        sections = [
            (hadm_id, section, section in AT_ADMISSION, text)
            for hadm_id, note in zip(*(kept[key].to_pylist() for key in columns[1:]), strict=True)
            for section, text in all_sections(note)
        ]
        yield pa.table(list(zip(*sections, strict=True)) or [()] * len(SECTIONS), schema=SECTIONS)
