"""What is odd about a source: a table of checks, each with the rows that it hit and their total.

Counts only, never a row's content. Rows that could not be read are counted as checks, too.
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
from tasks.ingest.cohort import is_no_age, years_between
from tasks.ingest.layout import Layout, OpenTable
from tasks.ingest.lookup import look_up, match_admissions, row_of
from tasks.ingest.rejects import Rejects
from tasks.ingest.stays import Flags, Stays
from tasks.ingest.times import begins_inside_another, times
from tasks.schemas import NOTES, QUALITY, REJECTS

_NOTE_NULLS = ("hadm_id", "charttime", "storetime")
_FILES = {"deaths": "patients"}  # it is a second reading of that table
_NULLS_OF = ("admissions", "patients", "icu_stays")
_MOSTLY_NULL = ("deathtime",)  # of patients who live


@dataclass(frozen=True)
class Check:
    """How many rows of a table a check hit, of how many."""

    table: str
    column: str | None  # None: the row as a whole
    check: str
    count: int
    rows: int


def quality(
    release: str,
    layouts: Mapping[str, Layout],
    notes: Mapping[str, Path],
    opened: Mapping[str, OpenTable],
) -> pa.Table:
    """The checks of a source, of schema QUALITY.

    A column that no source of the kind has is not odd.

    Args:
        layouts: the release's, by the table's name.
        notes: the notes artifacts by the table's name.
        opened: the tables admissions, patients and deaths; and diagnoses, procedures and icu_stays
            where the source has them.
    """
    read = {name: table.table() for name, table in opened.items()}
    checks = [
        *(check for name, table in opened.items() for check in _of_missing(name, table)),
        *(check for name, table in read.items() for check in _nulls(name, table, opened[name])),
        *_of_admissions(read),
        *_of_icu_stays(read),
        *(check for name in ("diagnoses", "procedures") for check in _of_codes(name, read)),
        *(
            check
            for name, artifact in notes.items()
            for check in _of_notes(layouts[name], artifact, read)
        ),
        *(check for name, table in opened.items() for check in _of_rejects(name, table.rejects)),
    ]
    rows = [{"release": release, **check.__dict__} for check in checks]
    return pa.Table.from_pylist(rows, QUALITY)


def _of_admissions(read: Mapping[str, pa.Table]) -> Iterator[Check]:
    table, people = read["admissions"], read["patients"]

    def hit(column: str, check: str, flags: Flags) -> Check:
        return Check("admissions", column, check, int(flags.sum()), table.num_rows)

    subjects = table["subject_id"].to_numpy()
    patient = look_up(people, "subject_id", subjects)
    ages = is_no_age(years_between(patient["born"], table["admittime"]))
    yield hit("subject_id", "is in no row of patients", patient["subject_id"].is_null().to_numpy())
    yield hit("admittime", "gives an age outside 0 to 120", pc.fill_null(ages, False).to_numpy())
    for column, check, flags in _odd_ends(table, Stays.of(table, read["deaths"])):
        yield hit(column, check, flags)


def _odd_ends(table: pa.Table, stays: Stays) -> Iterator[tuple[str, str, Flags]]:
    """Contradictions in the times of admissions, and in who died: column, check, [admissions]."""
    deathtime = times(table["deathtime"])
    flag = pc.fill_null(table["hospital_expire_flag"], -1).to_numpy()
    yield "dischtime", "is before admittime", stays.discharged < stays.admitted
    yield "dischtime", "is admittime", stays.discharged == stays.admitted
    yield "admittime", "is after the patient's death", stays.after_death
    yield "admittime", "is inside another admission of the patient", stays.inside_another
    yield "deathtime", "is before admittime", deathtime < stays.admitted
    yield "deathtime", "is after dischtime", deathtime > stays.discharged
    yield "deathtime", "is empty though the flag says death", np.isnat(deathtime) & (flag == 1)
    yield "deathtime", "is given though the flag says no death", ~np.isnat(deathtime) & (flag == 0)
    contradicted = (flag >= 0) & ~stays.died & ~stays.lived
    yield "hospital_expire_flag", "is contradicted by a date of death", contradicted


def _of_icu_stays(read: Mapping[str, pa.Table]) -> Iterator[Check]:
    if "icu_stays" not in read:
        return
    table = read["icu_stays"]
    rows = row_of(table["hadm_id"].to_numpy(), read["admissions"]["hadm_id"].to_numpy())
    begins, ends = times(table["intime"]), times(table["outtime"])
    inside = begins_inside_another(table["hadm_id"].to_numpy(), begins, ends)
    for column, check, flags in (
        ("hadm_id", "is in no row of admissions", rows < 0),
        ("outtime", "is not after intime", ends <= begins),
        ("intime", "is inside another ICU stay of the admission", inside),
    ):
        yield Check("icu_stays", column, check, int(flags.sum()), table.num_rows)


def _of_codes(name: str, read: Mapping[str, pa.Table]) -> Iterator[Check]:
    if name not in read:
        return
    codes, stays = read[name], read["admissions"]
    rows, same_patient = match_admissions(codes, stays)
    known = rows >= 0
    others = int((known & ~same_patient).sum())
    uncoded = stays.num_rows - len(np.unique(rows[known]))
    yield Check(name, "hadm_id", "is in no row of admissions", int((~known).sum()), len(rows))
    yield Check(name, "subject_id", "is not the admission's", others, len(rows))
    yield Check("admissions", "hadm_id", f"has no row of {name}", uncoded, stays.num_rows)


def _of_notes(layout: Layout, artifact: Path, read: Mapping[str, pa.Table]) -> Iterator[Check]:
    name = layout.name
    expected = [column for column in _NOTE_NULLS if column not in layout.unknown]
    stays = read["admissions"].combine_chunks()
    hits: Counter[tuple[str, str]] = Counter()
    noted = np.zeros(stays.num_rows, bool)
    total = 0
    for batch in tables.stream(artifact / "notes", NOTES, ["subject_id", *_NOTE_NULLS], 1 << 16):
        total += batch.num_rows
        for column in expected:
            hits[column, "is empty"] += batch[column].null_count
        rows, same_patient = match_admissions(batch, stays)
        known = rows >= 0
        named = batch["hadm_id"].is_valid().to_numpy(zero_copy_only=False)
        hits["hadm_id", "is in no row of admissions"] += int((named & ~known).sum())
        hits["subject_id", "is not the admission's"] += int((known & ~same_patient).sum())
        noted[rows[known]] = True
    for (column, check), count in hits.items():
        yield Check(name, column, check, count, total)
    yield Check("admissions", "hadm_id", f"has no row of {name}", int((~noted).sum()), len(noted))
    reasons = Counter[tuple[str | None, str]]()
    for batch in tables.stream(artifact / "rejects", REJECTS, ["column", "reason"]):
        reasons.update(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    yield from _rejected(name, reasons, total + reasons.total())


def _of_missing(name: str, table: OpenTable) -> Iterator[Check]:
    rows = table.rejects.rows
    for column in table.missing:
        yield Check(_FILES.get(name, name), column, "is missing: no such column", rows, rows)


def _of_rejects(name: str, rejects: Rejects) -> Iterator[Check]:
    reasons = {reason[1:]: count for reason, count in rejects.reasons.items()}
    if name in _FILES:  # a second reading: what the first rejected is not counted again
        reasons = {key: count for key, count in reasons.items() if key[0] == "dod"}
    yield from _rejected(_FILES.get(name, name), reasons, rejects.rows)


def _rejected(
    name: str, reasons: Mapping[tuple[str | None, str], int], rows: int
) -> Iterator[Check]:
    for (column, reason), count in sorted(reasons.items(), key=str):
        yield Check(name, column, f"{reason} (rejected)", count, rows)


def _nulls(name: str, table: pa.Table, opened: OpenTable) -> Iterator[Check]:
    for column in table.column_names:
        expected = column in (*_MOSTLY_NULL, *opened.missing, *opened.layout.unknown)
        if name in _NULLS_OF and not expected and (count := table[column].null_count):
            yield Check(name, column, "is empty", count, table.num_rows)
