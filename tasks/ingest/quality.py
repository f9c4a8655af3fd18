"""What is odd about a source: a table of checks, each with how many rows of how many it hit.

Counts only; nothing of a row's content. Rows that could not be read are among the checks too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks import tables
from tasks.ingest.cohort import years_between
from tasks.ingest.layout import OpenTable
from tasks.ingest.rows import looked_up, row_of
from tasks.schemas import NOTES, QUALITY, REJECTS

_OLDEST = 120  # years
_SHIFTED = 300  # MIMIC-III's date of birth of those over 89
_NOTE_NULLS = ("hadm_id", "charttime", "storetime")


@dataclass(frozen=True)
class Check:
    """How many rows of a table a check hit."""

    table: str
    column: str | None  # None: the row as a whole
    check: str
    count: int
    rows: int


def quality(release: str, notes: Mapping[str, Path], opened: Mapping[str, OpenTable]) -> pa.Table:
    """The checks of a source, of schema QUALITY.

    Args:
        notes: the notes artifacts by the table's name.
        opened: the tables admissions and patients, and diagnoses and procedures if they are there.
    """
    read = {name: table.table() for name, table in opened.items()}
    found = [
        *_of_admissions(read),
        *(check for name in ("diagnoses", "procedures") for check in _of_codes(name, read)),
        *(check for name, place in notes.items() for check in _of_notes(name, place, read)),
        *(
            check
            for name, table in opened.items()
            for check in _of_rejects(name, table.rejects.table(), table.rejects.rows)
        ),
    ]
    rows = [{"release": release, **check.__dict__} for check in found]
    return pa.Table.from_pylist(rows, QUALITY)


def _of_admissions(read: Mapping[str, pa.Table]) -> Iterator[Check]:
    stays, people = read["admissions"], read["patients"]
    rows = stays.num_rows
    yield from _nulls("admissions", stays)
    yield from _nulls("patients", people)

    def hit(column: str, check: str, mask: pa.ChunkedArray) -> Check:
        return Check("admissions", column, check, int(pc.sum(mask).as_py() or 0), rows)

    patient = looked_up(people, "subject_id", stays["subject_id"].to_numpy())
    years = years_between(patient["born"], stays["admittime"])
    yield hit("subject_id", "is in no row of patients", patient["subject_id"].is_null())
    yield hit("dischtime", "is before admittime", pc.less(stays["dischtime"], stays["admittime"]))
    too_old = pc.and_(pc.greater(years, _OLDEST), pc.less(years, _SHIFTED))
    outside = pc.or_(pc.less(years, 0), too_old)
    yield hit("admittime", "gives an age outside 0 to 120", outside)


def _of_codes(name: str, read: Mapping[str, pa.Table]) -> Iterator[Check]:
    if name not in read:
        return
    codes, stays = read[name], read["admissions"]
    rows = row_of(codes["hadm_id"].to_numpy(), stays["hadm_id"].to_numpy())
    there = rows >= 0
    subjects = stays["subject_id"].to_numpy()[rows[there]]
    others = int((subjects != codes["subject_id"].to_numpy()[there]).sum())
    uncoded = stays.num_rows - len(np.unique(rows[there]))
    yield Check(name, "hadm_id", "is in no row of admissions", int((~there).sum()), len(rows))
    yield Check(name, "subject_id", "is not the admission's", others, len(rows))
    yield Check("admissions", "hadm_id", f"has no row of {name}", uncoded, stays.num_rows)


def _of_notes(name: str, place: Path, read: Mapping[str, pa.Table]) -> Iterator[Check]:
    stays = read["admissions"]
    hadm_ids, subject_ids = (stays[key].to_numpy() for key in ("hadm_id", "subject_id"))
    hits: Counter[tuple[str, str]] = Counter()
    noted = np.zeros(len(hadm_ids), bool)
    total = 0
    for batch in tables.stream(place / "notes", NOTES, ["subject_id", *_NOTE_NULLS], 1 << 16):
        total += batch.num_rows
        for column in _NOTE_NULLS:
            hits[column, "is empty"] += batch[column].null_count
        rows = row_of(pc.fill_null(batch["hadm_id"], -1).to_numpy(), hadm_ids)
        there = rows >= 0
        named = batch["hadm_id"].is_valid().to_numpy(zero_copy_only=False)
        hits["hadm_id", "is in no row of admissions"] += int((named & ~there).sum())
        own = subject_ids[rows[there]] == batch["subject_id"].to_numpy()[there]
        hits["subject_id", "is not the admission's"] += int((~own).sum())
        noted[rows[there]] = True
    for (column, check), count in hits.items():
        yield Check(name, column, check, count, total)
    yield Check("admissions", "hadm_id", f"has no row of {name}", int((~noted).sum()), len(noted))
    rejects = tables.read(place / "rejects", REJECTS)
    yield from _of_rejects(name, rejects, total + rejects.num_rows)


def _of_rejects(name: str, rejects: pa.Table, rows: int) -> Iterator[Check]:
    pairs = zip(rejects["column"].to_pylist(), rejects["reason"].to_pylist(), strict=True)
    for (column, reason), count in sorted(Counter(pairs).items(), key=str):
        yield Check(name, column, f"{reason} (rejected)", count, rows)


def _nulls(name: str, table: pa.Table) -> Iterator[Check]:
    for column in table.column_names:
        if count := table[column].null_count:
            yield Check(name, column, "is empty", count, table.num_rows)
