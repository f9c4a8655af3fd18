"""The contamination guard: notes that are nearly the same on two sides of a split or a release.

MIMIC-III and MIMIC-IV share patients whose identifiers cannot be linked, and notes are copied from
one patient's record to another's; a split by patient keeps neither out of pretraining.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import tables
from tasks.ingest.config import GuardConfig
from tasks.ingest.duplicate_pairs import (
    HELD_OUT,
    SPLITS_OF_A_SIDE,
    TRAINED_ON,
    DuplicatePairs,
    NoteSides,
)
from tasks.ingest.lsh import BandFiles, Pairs
from tasks.ingest.minhash import sign
from tasks.schemas import GUARD_DROPPED, GUARD_PAIRS, NOTES, SPLITS
from tasks.shards import part_of

DISCHARGE_TYPES = ("DS", "AD")
RADIOLOGY_TYPES = ("RR", "AR")
_NOTES_AT_ONCE = 512
_PAIRS_AT_ONCE = 1 << 16

Counts = dict[str, int]


@dataclass(frozen=True)
class NotesOf:
    """Notes of a release and its splits; without splits, all its patients are for pretraining."""

    notes: Path
    release: str
    splits: Path | None


def find_near_duplicates(out: Path, sources: Sequence[NotesOf], config: GuardConfig) -> Counts:
    """Find notes that are nearly the same across splits and releases: tables pairs and dropped.

    `pairs` lists discharge notes, the one closer to training first, each with at most
    MOST_PARTNERS others. `dropped` names those that pretraining is to leave out (mode "drop").
    Memory holds each note's identifier and about 200 bytes; the signatures are on disk.
    """
    releases = tuple(dict.fromkeys(source.release for source in sources))
    discharge = _Signed(out / "work" / "discharge", config)
    radiology = _Signed(out / "work" / "radiology", config, listed=False)
    if config.mode != "off":
        for source in sources:
            _sign_all(source, releases.index(source.release), len(releases), discharge, radiology)
    duplicates, sides = discharge.search(releases)
    ids = pa.chunked_array(discharge.ids, pa.string()).combine_chunks()
    listing = duplicates.listing()
    batches = _pair_batches(listing, ids, sides)
    tables.write(part_of(out / "pairs"), GUARD_PAIRS, batches)
    near = duplicates.near(TRAINED_ON, HELD_OUT)
    dropped = near if config.mode == "drop" else near[:0]
    removed = {"note_id": ids.take(pa.array(dropped)), "release": sides.release_names(dropped)}
    tables.write(part_of(out / "dropped"), GUARD_DROPPED, pa.table(removed))
    counts = {
        "notes": len(sides.values),
        "notes_not_compared": discharge.skipped,
        **_pairs_by_kind(listing, sides),
        "notes_with_more_partners": int(duplicates.has_more.sum()),
        "pretraining_notes_near_held_out": len(near),
        "dropped": len(dropped),
        **_test_characters(
            duplicates, sides, discharge.characters, unguarded=len(near) > len(dropped)
        ),
    }
    if config.count_radiology:
        radiology_duplicates, radiology_sides = radiology.search(releases)
        counts["radiology_notes"] = len(radiology_sides.values)
        counts["radiology_notes_near_held_out"] = len(
            radiology_duplicates.near(TRAINED_ON, HELD_OUT)
        )
    shutil.rmtree(out / "work")
    return counts


class _Signed:
    """The notes of one kind signed so far, and what the tables need to know about each."""

    def __init__(self, folder: Path, config: GuardConfig, *, listed: bool = True) -> None:
        self.ids: list[pa.Array] = []
        self.characters: list[NDArray[np.int64]] = []
        self.skipped = 0  # without a word, or of a patient that is in no split
        self._files = BandFiles(folder, config.permutations, config.threshold)
        self._config = config
        self._listed = listed
        self._sides: list[NDArray[np.uint8]] = []

    @property
    def wanted(self) -> bool:
        return self._listed or self._config.count_radiology

    def add(self, notes: pa.RecordBatch, sides: NDArray[np.int64]) -> None:
        """Sign these notes, of columns note_id and text; those of a negative side are skipped."""
        config = self._config
        signatures, worded = sign(notes["text"], config.shingle_words, config.permutations)
        usable = (sides >= 0) & worded
        self.skipped += int((~usable).sum())
        self._files.append(signatures[usable])
        self._sides.append(sides[usable].astype(np.uint8))
        if self._listed:
            notes = notes.filter(pa.array(usable))
            self.ids.append(notes["note_id"])
            self.characters.append(pc.utf8_length(notes["text"]).to_numpy())

    def search(self, releases: tuple[str, ...]) -> tuple[DuplicatePairs, NoteSides]:
        """Compare all notes signed."""
        values = np.concatenate([np.zeros(0, np.uint8), *self._sides])
        sides = NoteSides(values, releases)
        duplicates = DuplicatePairs(sides, listed=self._listed)
        if len(values):
            for pairs in self._files.similar(values):
                duplicates.add(pairs)
        return duplicates, sides


def _sign_all(
    source: NotesOf, release: int, releases: int, discharge: _Signed, radiology: _Signed
) -> None:
    splits = None if source.splits is None else _SplitOf(source.splits)
    columns = ["note_id", "subject_id", "note_type", "text"]
    for batch in tables.stream(source.notes / "notes", NOTES, columns, _NOTES_AT_ONCE):
        for signed, types in ((discharge, DISCHARGE_TYPES), (radiology, RADIOLOGY_TYPES)):
            if not signed.wanted:
                continue
            notes = batch.filter(pc.is_in(batch["note_type"], pa.array(types)))
            split = np.zeros(len(notes), int)  # pretraining
            if splits is not None:
                split = splits(notes["subject_id"].to_numpy())
            signed.add(notes, np.where(split < 0, -1, split * releases + release))


class _SplitOf:
    """A patient's split, an index of SPLITS_OF_A_SIDE; negative for one in no split."""

    def __init__(self, splits: Path) -> None:
        table = tables.read(splits / "splits", SPLITS).sort_by("subject_id")
        self._subjects = table["subject_id"].to_numpy()
        names = pa.array(SPLITS_OF_A_SIDE)
        self._splits = pc.index_in(table["split"], names).to_numpy().astype(np.int64)

    def __call__(self, subject_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        index = np.searchsorted(self._subjects, subject_ids)
        index = np.minimum(index, len(self._subjects) - 1)
        return np.where(self._subjects[index] == subject_ids, self._splits[index], -1)


def _pair_batches(pairs: Pairs, ids: pa.Array, sides: NoteSides) -> Iterator[pa.Table]:
    for begin in range(0, len(pairs.left), _PAIRS_AT_ONCE):
        chunk = slice(begin, begin + _PAIRS_AT_ONCE)
        left, right = pairs.left[chunk], pairs.right[chunk]
        yield pa.table(
            {
                "note_id": ids.take(pa.array(left)),
                "split": sides.split_names(left),
                "release": sides.release_names(left),
                "other_note_id": ids.take(pa.array(right)),
                "other_split": sides.split_names(right),
                "other_release": sides.release_names(right),
                "similarity": pairs.similarity[chunk],
            }
        )


def _pairs_by_kind(pairs: Pairs, sides: NoteSides) -> Counts:
    """How many pairs are listed: in all, of each two splits, and across releases."""
    kinds = Counter(zip(sides.splits[pairs.left], sides.splits[pairs.right], strict=True))
    counts = {
        f"pairs: {SPLITS_OF_A_SIDE[first]}-{SPLITS_OF_A_SIDE[second]}": kinds[first, second]
        for first, second in combinations(range(len(SPLITS_OF_A_SIDE)), 2)
    }
    releases = np.uint8(len(sides.releases))
    across = sides.values[pairs.left] % releases != sides.values[pairs.right] % releases
    return {"pairs": len(pairs.left), **counts, "pairs: across releases": int(across.sum())}


def _test_characters(
    duplicates: DuplicatePairs,
    sides: NoteSides,
    characters: list[NDArray[np.int64]],
    *,
    unguarded: bool,
) -> Counts:
    """The characters of the test's notes: all, and those of notes that pretraining nearly sees.

    With the guard it sees none, as every note near the test is dropped; where the guard only
    reports, as many as without it.
    """
    lengths = np.concatenate([np.zeros(0, np.int64), *characters])
    characters_seen = int(lengths[duplicates.near(("test",), TRAINED_ON)].sum())
    return {
        "test_characters": int(lengths[sides.of(("test",))].sum()),
        "test_characters_seen_unguarded": characters_seen,
        "test_characters_seen": characters_seen if unguarded else 0,
    }
