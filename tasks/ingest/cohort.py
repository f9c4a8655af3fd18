"""The cohort: admissions with an admission note, and why each of the others is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import tables
from tasks.ingest.sections import admission_note, sections_of
from tasks.schemas import ADMISSIONS, EXCLUSIONS, NOTES, SPLITS

NO_PATIENT = "patient not in the patients table"
NO_SPLIT = "patient not in the splits file"
NO_STAY = "stay of no positive length"  # organ donors' accounts, among others
NO_NOTE = "no discharge note"
OTHER_PATIENT = "discharge note of another patient"
EMPTY_NOTE = "no chief complaint, present illness or history"
_OLDEST = 91  # years; stands for everyone over 89


@dataclass
class Cohort:
    """Lays discharge notes over admissions; what it left out is there once the batches are taken.

    `admissions` and `patients` are as `source.py` declares them, `splits` of schema SPLITS.
    """

    notes: Path
    admissions: pa.Table
    patients: pa.Table
    splits: pa.Table
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._described = _describe(self.admissions, self.patients, self.splits)
        self._hadm_ids = self._described["hadm_id"].to_numpy()
        self._subject_ids = self._described["subject_id"].to_numpy()
        self._usable = self._described["reason"].is_null().to_numpy(zero_copy_only=False)
        rows = len(self._hadm_ids)
        self._noted = np.zeros(rows, bool)  # has a note of its own patient
        self._mistaken = np.zeros(rows, bool)  # has a note of another patient
        self._kept = np.zeros(rows, bool)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the cohort's admissions, of schema ADMISSIONS, in the notes' order.

        An admission with one note is done as the note passes by; the few with several (addenda)
        are held to the end and joined in the order of note_seq.
        """
        several = self._with_several_notes()
        held: dict[int, list[tuple[str, int, dict[str, str]]]] = {}
        columns = ["subject_id", "hadm_id", "note_type", "note_seq", "text"]
        for batch in tables.stream(self.notes, NOTES, columns, batch_rows=512):
            rows = self._rows_of(batch)
            taken = np.flatnonzero(rows >= 0)
            alone: list[tuple[int, str]] = []
            for place, row in zip(taken.tolist(), rows[taken].tolist(), strict=True):
                found = sections_of(batch["text"][place].as_py())
                if row in several:
                    order = batch["note_type"][place].as_py(), batch["note_seq"][place].as_py() or 0
                    held.setdefault(row, []).append((*order, found))
                else:
                    alone.append((row, admission_note([found])))
            yield self._finished(alone)
        joined = [
            (row, admission_note(found for *_, found in sorted(notes, key=_in_order)))
            for row, notes in held.items()
        ]
        self.counts["admissions_with_several_notes"] = len(held)
        yield self._finished(joined)

    def exclusions(self) -> pa.Table:
        """The admissions left out, of schema EXCLUSIONS, one reason each, in the source's order."""
        late = np.select(
            [self._noted, self._mistaken], [EMPTY_NOTE, OTHER_PATIENT], default=NO_NOTE
        )
        reasons = pc.coalesce(self._described["reason"], pa.array(late.tolist(), pa.string()))
        out = pa.table({"hadm_id": self._described["hadm_id"], "reason": reasons}, EXCLUSIONS)
        return out.filter(pa.array(~self._kept))

    def _with_several_notes(self) -> set[int]:
        rows = [
            self._rows_of(batch)
            for batch in tables.stream(self.notes, NOTES, ["subject_id", "hadm_id"], 1 << 16)
        ]
        taken = np.concatenate(rows) if rows else np.empty(0, np.int64)
        found, times = np.unique(taken[taken >= 0], return_counts=True)
        return set(found[times > 1].tolist())

    def _rows_of(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """Each note's row in the admissions, -1 where there is no usable one [notes]."""
        hadm_ids = pc.fill_null(batch["hadm_id"], -1).to_numpy()
        rows = row_of(hadm_ids, self._hadm_ids)
        own = (rows >= 0) & (self._subject_ids[rows] == batch["subject_id"].to_numpy())
        self._mistaken[rows[(rows >= 0) & ~own]] = True
        self._noted[rows[own]] = True
        return np.where(own & self._usable[rows], rows, -1)

    def _finished(self, notes: list[tuple[int, str]]) -> pa.Table:
        """The admissions of which the note says something, with all their columns."""
        said = [(row, note) for row, note in notes if note]
        rows = [row for row, _ in said]
        self._kept[rows] = True
        table = self._described.take(pa.array(rows, pa.int64())).drop_columns(["reason"])
        texts = pa.array([note for _, note in said], pa.large_string())
        return table.append_column("admission_note", texts).select(ADMISSIONS.names)


def row_of(keys: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each key in an array of distinct keys, -1 where it is not there [keys].

    >>> row_of(np.array([7, 5, 6]), np.array([5, 7])).tolist()
    [1, 0, -1]
    """
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(among)
    places = np.searchsorted(among, keys, sorter=order).clip(max=len(among) - 1)
    rows = order[places]
    return np.where(among[rows] == keys, rows, -1)


def _describe(admissions: pa.Table, patients: pa.Table, splits: pa.Table) -> pa.Table:
    """The admissions with their patients' columns, and `reason` where they cannot be used.

    Age is anchor_age + (year of admission - anchor_year), as MIMIC's documentation computes it;
    an anchor_age over 89 is stored as 91.
    """
    subjects = admissions["subject_id"].to_numpy()
    patient = _looked_up(patients, subjects)
    split = _looked_up(splits.cast(SPLITS), subjects)["split"]
    years = pc.subtract(pc.year(admissions["admittime"]), patient["anchor_year"])
    age = pc.add(patient["anchor_age"], years)
    age = pc.if_else(pc.greater_equal(age, 90), _OLDEST, age)
    no_stay = pc.less_equal(admissions["dischtime"], admissions["admittime"])
    reason = pc.case_when(
        pc.make_struct(patient["subject_id"].is_null(), split.is_null(), no_stay),
        NO_PATIENT,
        NO_SPLIT,
        NO_STAY,
    )
    table = admissions.drop_columns(["hospital_expire_flag"])
    for name, column in (
        ("age", age.cast(pa.int32())),
        ("sex", patient["gender"]),
        ("split", split),
        ("reason", reason),
    ):
        table = table.append_column(name, column)
    return table.combine_chunks()


def _looked_up(table: pa.Table, subjects: NDArray[np.int64]) -> pa.Table:
    """The rows of the table that belong to the subjects, nulls where there is none."""
    rows = row_of(subjects, table["subject_id"].to_numpy())
    return table.take(pa.array(rows, pa.int64(), mask=rows < 0))


def _in_order(note: tuple[str, int, dict[str, str]]) -> tuple[bool, int]:
    """Discharge summaries before their addenda, each in the order of note_seq."""
    note_type, sequence, _ = note
    return note_type != "DS", sequence
