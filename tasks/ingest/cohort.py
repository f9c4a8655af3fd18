"""The cohort: admissions with a text to predict from, and why each of the others is left out."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import tables
from tasks.ingest.rows import looked_up, row_of
from tasks.ingest.views import SUMMARY, NoteView
from tasks.schemas import ADMISSIONS, EXCLUSIONS, NOTES

NO_PATIENT = "patient not in the patients table"
NO_SPLIT = "patient not in the splits file"
NO_STAY = "stay of no positive length"  # organ donors' accounts, among others
OTHER_PATIENT = "note of another patient"
ONLY_ADDENDA = "an addendum without its discharge note"  # CORE asks for a report too
_OLDEST = 91  # years; stands for everyone over 89

Order = tuple[bool, int, int]  # of an admission's notes
Held = list[tuple[Order, Any]]


@dataclass
class Cohort:
    """Lays notes over admissions; what it left out is there once the batches are taken.

    `admissions`, `patients` and `splits` have the columns of `mimic_iv.py` and SPLITS; `excluded`
    are the patterns of admission types that are left out.
    """

    notes: Path
    view: NoteView
    admissions: pa.Table
    patients: pa.Table
    splits: pa.Table
    excluded: Sequence[str] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._described = self._describe()
        self._usable = self._described["reason"].is_null().to_numpy()
        rows = self._described.num_rows
        self._mistaken = np.zeros(rows, bool)  # has a note of another patient
        self._summarized = np.zeros(rows, bool)  # has more than addenda
        self._kept = np.zeros(rows, bool)
        self._row_of_note = self._match()
        self._notes_of = np.bincount(self._row_of_note[self._row_of_note >= 0], minlength=rows)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the cohort's admissions, of schema ADMISSIONS.

        An admission is done as the last of its notes passes by; until then the others are held.
        """
        held: dict[int, Held] = {}
        columns = ["note_type", "note_seq", "charttime", "text"]
        passed = 0
        for batch in tables.stream(self.notes, NOTES, columns, batch_rows=512):
            rows = self._row_of_note[passed : passed + batch.num_rows]
            passed += batch.num_rows
            done: list[tuple[int, str]] = []
            for place in np.flatnonzero(rows >= 0).tolist():
                row = int(rows[place])
                found = self.view.read(batch["text"][place].as_py())
                if self._notes_of[row] == 1:
                    done.append((row, self.view.join([found])))
                    continue
                notes = held.setdefault(row, [])
                notes.append((self._order(batch, place), found))
                if len(notes) == self._notes_of[row]:
                    done.append((row, self._joined(held.pop(row))))
            yield self._finished(done)
        self.counts["admissions_with_several_notes"] = int((self._notes_of > 1).sum())

    def exclusions(self) -> pa.Table:
        """The admissions left out, of schema EXCLUSIONS, one reason each, in the source's order."""
        view = self.view
        only_addenda = np.zeros(len(self._kept), bool)
        if view.table == "discharge":
            only_addenda = (self._notes_of > 0) & ~self._summarized
        late = np.select(
            [only_addenda, self._notes_of > 0, self._mistaken],
            [ONLY_ADDENDA, view.nothing_said, OTHER_PATIENT],
            default=view.no_note,
        )
        reasons = pc.coalesce(self._described["reason"], pa.array(late.tolist(), pa.string()))
        out = pa.table({"hadm_id": self._described["hadm_id"], "reason": reasons}, EXCLUSIONS)
        return out.filter(pa.array(~self._kept))

    def _match(self) -> NDArray[np.int64]:
        """Each note's row in the admissions, -1 where it is not used [notes]."""
        hadm_ids = self._described["hadm_id"].to_numpy()
        subject_ids = self._described["subject_id"].to_numpy()
        admitted = _times(self._described["admittime"])
        columns = ["subject_id", "hadm_id", "note_type", "charttime", "storetime"]
        found = [np.empty(0, np.int64)]
        for batch in tables.stream(self.notes, NOTES, columns, 1 << 16):
            rows = row_of(pc.fill_null(batch["hadm_id"], -1).to_numpy(), hadm_ids)
            there = rows >= 0
            at = np.where(there, rows, 0)
            own = there & (subject_ids[at] == batch["subject_id"].to_numpy() if len(at) else there)
            self._mistaken[rows[there & ~own]] = True
            if len(admitted):
                taken, stored = _times(batch["charttime"]), _times(batch["storetime"])
                own &= self.view.in_time(admitted[at], taken, stored) & self._usable[at]
            is_summary = pc.equal(batch["note_type"], SUMMARY).to_numpy(zero_copy_only=False)
            self._summarized[rows[own & is_summary]] = True
            found.append(np.where(own, rows, -1))
        return np.concatenate(found)

    def _order(self, batch: pa.RecordBatch, place: int) -> Order:
        """Summaries before addenda, each in the order of note_seq; reports in that of time."""
        time = batch["charttime"][place].value or 0  # microseconds; null without
        sequence = batch["note_seq"][place].as_py() or 0
        if self.view.table == "radiology":
            return False, time, sequence
        return batch["note_type"][place].as_py() != SUMMARY, sequence, time

    def _joined(self, notes: Held) -> str:
        return self.view.join([found for _, found in sorted(notes, key=lambda note: note[0])])

    def _finished(self, notes: list[tuple[int, str]]) -> pa.Table:
        """The admissions of which the text says something, with all their columns."""
        addenda = self.view.table == "discharge"
        said = [
            (row, note) for row, note in notes if note and (self._summarized[row] or not addenda)
        ]
        rows = [row for row, _ in said]
        self._kept[rows] = True
        table = self._described.take(pa.array(rows, pa.int64())).drop_columns(["reason"])
        texts = pa.array([note for _, note in said], pa.large_string())
        return table.append_column("note", texts).select(ADMISSIONS.names)

    def _describe(self) -> pa.Table:
        """The admissions with their patients' columns, and `reason` where they cannot be used."""
        admissions = self.admissions
        subjects = admissions["subject_id"].to_numpy()
        patient = looked_up(self.patients, "subject_id", subjects)
        split = looked_up(self.splits, "subject_id", subjects)["split"]
        no_stay = pc.less_equal(admissions["dischtime"], admissions["admittime"])
        types = admissions["admission_type"]
        wrong_type = pc.is_in(types, pa.array(_matching(types, self.excluded), pa.string()))
        reason = pc.case_when(
            pc.make_struct(patient["subject_id"].is_null(), split.is_null(), no_stay, wrong_type),
            NO_PATIENT,
            NO_SPLIT,
            NO_STAY,
            pc.binary_join_element_wise("admission of type", types, " "),
        )
        table = admissions.drop_columns(["hospital_expire_flag"])
        for name, column in (
            ("age", _age(patient["born"], admissions["admittime"])),
            ("sex", patient["gender"]),
            ("split", split),
            ("reason", reason),
        ):
            table = table.append_column(name, column)
        return table.combine_chunks()


def years_between(born: pa.ChunkedArray, admitted: pa.ChunkedArray) -> pa.ChunkedArray:
    """Full years from birth to admission."""

    def day(times: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.add(pc.multiply(pc.month(times), 100), pc.day(times))

    years = pc.subtract(pc.year(admitted), pc.year(born))
    return pc.subtract(years, pc.cast(pc.less(day(admitted), day(born)), pa.int64()))


def _age(born: pa.ChunkedArray, admitted: pa.ChunkedArray) -> pa.ChunkedArray:
    """Full years at admission; from 90 on they are 91, as MIMIC-IV has them."""
    years = years_between(born, admitted)
    return pc.if_else(pc.greater_equal(years, 90), _OLDEST, years).cast(pa.int32())


def _matching(types: pa.ChunkedArray, patterns: Sequence[str]) -> list[str]:
    """The types that one of the patterns matches."""
    return [
        kind
        for kind in pc.unique(types).drop_null().to_pylist()
        if any(fnmatch.fnmatchcase(kind.upper(), pattern.upper()) for pattern in patterns)
    ]


def _times(column: pa.Array) -> NDArray[np.datetime64]:
    return column.to_numpy(zero_copy_only=False).astype("datetime64[us]")
