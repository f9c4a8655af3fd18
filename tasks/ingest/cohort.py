"""The cohort: admissions with a text to predict from, and why each of the others is left out.

Notes are first matched with admissions, by their ids alone. The texts are then made in shards of
SHARD_NOTES notes, each independently, from its admissions and the numbers of its notes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import tables
from tasks.ingest.lookup import look_up, match_admissions
from tasks.ingest.stays import AFTER_DEATH, NO_STAY, Stays
from tasks.ingest.times import times
from tasks.ingest.views import SUMMARY, NoteView
from tasks.schemas import ADMISSIONS, EXCLUSIONS, NOTES

NO_PATIENT = "patient not in the patients table"
NO_SPLIT = "patient not in the splits file"
OTHER_PATIENT = "note of another patient"
ONLY_ADDENDA = "an addendum without its discharge note"  # CORE asks for a report too
SHARD_NOTES = 1 << 16
_OLDEST = 91  # years; stands for everyone over 89
_LONGEST_LIFE = 120  # years
_SHIFTED = 300  # years that MIMIC-III adds to an age over 89

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """Some admissions and the notes that make their texts.

    admissions: of schema ADMISSIONS without the note.
    notes: [notes], their row numbers in the notes table, ascending.
    owner: [notes], the row in `admissions` that each belongs to.
    """

    admissions: pa.Table
    notes: Rows
    owner: Rows

    def save(self, folder: Path) -> Path:
        """Write it to a folder, for the worker that takes this shard."""
        folder.mkdir(parents=True)
        pq.write_table(self.admissions, folder / "admissions.parquet")
        pq.write_table(
            pa.table({"notes": self.notes, "owner": self.owner}), folder / "notes.parquet"
        )
        return folder

    @classmethod
    def load(cls, folder: Path) -> Shard:
        """Read what `save` wrote."""
        notes = pq.read_table(folder / "notes.parquet")
        admissions = pq.read_table(folder / "admissions.parquet")
        return cls(admissions, notes["notes"].to_numpy(), notes["owner"].to_numpy())


class CohortSelection:
    """Which notes make the text of which admission, and which admissions have none.

    `admissions`, `patients`, `deaths` and `splits` have the columns of `mimic_iv.py` and SPLITS;
    `excluded` are the patterns of admission types that are left out.
    """

    def __init__(
        self,
        notes: Path,
        view: NoteView,
        admissions: pa.Table,
        patients: pa.Table,
        deaths: pa.Table,
        splits: pa.Table,
        excluded: Sequence[str] = (),
    ) -> None:
        self._view = view
        self._described = _describe(admissions, deaths, patients, splits, excluded)
        rows = self._described.num_rows
        self._mistaken = np.zeros(rows, bool)  # has a note of another patient
        self._summarized = np.zeros(rows, bool)  # has more than addenda
        matched = self._match(notes)
        self._noted = np.zeros(rows, bool)
        self._noted[matched[matched >= 0]] = True
        if view.table == "discharge":
            used = np.flatnonzero(matched >= 0)
            matched[used[~self._summarized[matched[used]]]] = -1
        self._row_of_note = matched
        self.several = int((np.bincount(matched[matched >= 0], minlength=rows) > 1).sum())

    def shards(self) -> Iterator[Shard]:
        """The admissions with notes; each is in the shard of the first of its notes."""
        notes = np.flatnonzero(self._row_of_note >= 0)
        rows = self._row_of_note[notes]
        first = np.full(self._described.num_rows, len(self._row_of_note))
        np.minimum.at(first, rows, notes)
        shard = first[rows] // SHARD_NOTES
        columns = [name for name in ADMISSIONS.names if name != "note"]
        for number in np.unique(shard):
            inside = shard == number
            shard_rows, owner = np.unique(rows[inside], return_inverse=True)
            admissions = self._described.select(columns).take(pa.array(shard_rows))
            yield Shard(admissions, notes[inside], owner)

    def exclusions(self, kept: Rows) -> pa.Table:
        """The admissions left out, of schema EXCLUSIONS, with one reason each, in source order.

        Args:
            kept: the hadm_id of those with a text.
        """
        only_addenda = self._noted & ~self._summarized & (self._view.table == "discharge")
        late = np.select(
            [only_addenda, self._noted, self._mistaken],
            [ONLY_ADDENDA, self._view.nothing_said, OTHER_PATIENT],
            default=self._view.no_note,
        )
        reasons = pc.coalesce(self._described["reason"], pa.array(late.tolist(), pa.string()))
        out = pa.table({"hadm_id": self._described["hadm_id"], "reason": reasons}, EXCLUSIONS)
        return out.filter(pc.invert(pc.is_in(out["hadm_id"], pa.array(kept))))

    def _match(self, notes: Path) -> Rows:
        """Each note's row in the admissions, -1 where it is not used [notes]."""
        usable = self._described["reason"].is_null().to_numpy()
        admitted = times(self._described["admittime"])
        columns = ["subject_id", "hadm_id", "note_type", "charttime", "storetime"]
        matches = [np.empty(0, np.int64)]
        for batch in tables.stream(notes, NOTES, columns, 1 << 16):
            rows, same_patient = match_admissions(batch, self._described)
            self._mistaken[rows[(rows >= 0) & ~same_patient]] = True
            used = np.flatnonzero(same_patient)
            taken, stored = (times(batch[name])[used] for name in ("charttime", "storetime"))
            in_time = self._view.in_time(admitted[rows[used]], taken, stored)
            used = used[usable[rows[used]] & in_time]
            is_summary = pc.equal(batch["note_type"], SUMMARY).to_numpy(zero_copy_only=False)
            self._summarized[rows[used[is_summary[used]]]] = True
            matched = np.full(len(rows), -1, np.int64)
            matched[used] = rows[used]
            matches.append(matched)
        return np.concatenate(matches)


def texts_of(shard: Shard, notes: Path, view: NoteView) -> Iterator[pa.Table]:
    """Yield a shard's admissions whose text is not empty, of schema ADMISSIONS.

    An admission is done when the last of its notes comes by; until then the others are held.
    """
    expected = np.bincount(shard.owner, minlength=shard.admissions.num_rows)
    held: dict[int, list[tuple[tuple[bool, int, int], object]]] = {}
    columns = ["note_type", "note_seq", "charttime", "text"]
    passed = 0
    for batch in tables.stream_rows(notes, NOTES, columns, shard.notes):
        done: list[tuple[int, str]] = []
        for index, row in enumerate(shard.owner[passed : passed + batch.num_rows].tolist()):
            order = _order(batch, index, view)
            held.setdefault(row, []).append((order, view.read(batch["text"][index].as_py())))
            if len(held[row]) == expected[row]:
                pieces = sorted(held.pop(row), key=lambda piece: piece[0])
                done.append((row, view.join([piece for _, piece in pieces])))
        passed += batch.num_rows
        texts = [(row, text) for row, text in done if text]
        kept = shard.admissions.take(pa.array([row for row, _ in texts], pa.int64()))
        note_texts = pa.array([text for _, text in texts], pa.large_string())
        yield kept.append_column("note", note_texts).select(ADMISSIONS.names)


def years_between(born: pa.ChunkedArray, admitted: pa.ChunkedArray) -> pa.ChunkedArray:
    """Full years from birth to admission."""

    def day(times: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.add(pc.multiply(pc.month(times), 100), pc.day(times))

    years = pc.subtract(pc.year(admitted), pc.year(born))
    return pc.subtract(years, pc.cast(pc.less(day(admitted), day(born)), pa.int64()))


def _describe(
    admissions: pa.Table,
    deaths: pa.Table,
    patients: pa.Table,
    splits: pa.Table,
    excluded: Sequence[str],
) -> pa.Table:
    """The admissions with their patients' columns, and `reason` where they cannot be used."""
    stays = Stays.of(admissions, deaths)
    patient = look_up(patients, "subject_id", stays.subjects)
    split = look_up(splits, "subject_id", stays.subjects)["split"]
    no_stay, after_death = pa.array(stays.empty), pa.array(stays.after_death)
    types = admissions["admission_type"]
    wrong_type = pc.is_in(types, pa.array(_matching(types, excluded), pa.string()))
    reason = pc.case_when(
        pc.make_struct(
            patient["subject_id"].is_null(), split.is_null(), no_stay, after_death, wrong_type
        ),
        NO_PATIENT,
        NO_SPLIT,
        NO_STAY,
        AFTER_DEATH,
        pc.binary_join_element_wise("admission of type", types, " "),
    )
    table = admissions.drop_columns(["hospital_expire_flag", "deathtime"])
    for name, column in (
        ("age", _age(patient["born"], admissions["admittime"])),
        ("sex", patient["gender"]),
        ("split", split),
        ("reason", reason),
    ):
        table = table.append_column(name, column)
    return table.combine_chunks()


def _age(born: pa.ChunkedArray, admitted: pa.ChunkedArray) -> pa.ChunkedArray:
    """Full years at admission; 91 stands for 90 and more, as in MIMIC-IV.

    Null where nobody can be of that age: the year of birth is wrong, or that of the admission.
    """
    years = years_between(born, admitted)
    capped = pc.if_else(pc.greater_equal(years, 90), _OLDEST, years)
    return pc.if_else(is_no_age(years), None, capped).cast(pa.int32())


def is_no_age(years: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether nobody is of that age."""
    too_old = pc.and_(pc.greater(years, _LONGEST_LIFE), pc.less(years, _SHIFTED))
    return pc.or_(pc.less(years, 0), too_old)


def _matching(types: pa.ChunkedArray, patterns: Sequence[str]) -> list[str]:
    """The types that match one of the patterns."""
    return [
        kind
        for kind in pc.unique(types).drop_null().to_pylist()
        if any(fnmatch.fnmatchcase(kind.upper(), pattern.upper()) for pattern in patterns)
    ]


def _order(batch: pa.RecordBatch, index: int, view: NoteView) -> tuple[bool, int, int]:
    """Summaries before addenda, both ordered by note_seq; reports ordered by time."""
    time = batch["charttime"][index].value or 0  # microseconds; null without
    sequence = batch["note_seq"][index].as_py() or 0
    if view.table == "radiology":
        return False, time, sequence
    return batch["note_type"][index].as_py() != SUMMARY, sequence, time
