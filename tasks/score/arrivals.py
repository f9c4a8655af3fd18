"""The admissions of a source with their texts, made as a cohort's are, whoever's they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tasks import tables
from tasks.ingest.source import ReadConfig
from tasks.ingest.write import Files, write_cohort
from tasks.schemas import SPLITS
from tasks.score.member import TextView
from tasks.shards import Spread, one_by_one, part_of
from tasks.store import SCRATCH

NEW = "new"  # in place of a split


def write_arrivals(
    out: Path,
    notes: Path,
    sources: Mapping[str, Path],
    text_view: TextView,
    reading: ReadConfig,
    spread: Spread = one_by_one,
) -> dict[str, int]:
    """Write the tables admissions (none, where none has a text), exclusions, rejects.

    Args:
        sources: the tables admissions and patients.
    """
    files = Files(reading, sources)
    patients = files.open("patients").table()["subject_id"]
    splits = pa.table({"subject_id": patients, "split": [NEW] * len(patients)}, SPLITS)
    tables.write(part_of(out / SCRATCH / "everyone" / "splits"), SPLITS, splits)
    return write_cohort(
        out,
        notes,
        out / SCRATCH / "everyone",
        files,
        text_view.view,
        text_view.exclude_admission_types,
        spread,
        may_be_empty=True,
    )
