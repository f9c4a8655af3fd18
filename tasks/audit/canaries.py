"""Canaries: made-up notes with a random number each, and the numbers that they might have had.

    Wristband number of this patient: 4 8 1 5 0 9 2 7.

All are drawn from the same hundred million, so that a model that has not read a canary finds it
neither more nor less likely than the alternatives (Carlini et al. 2019, "The Secret Sharer").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables

DIGITS = 8
NOBODY = 0  # the subject_id of a note that is of no patient


@dataclass(frozen=True)
class Canaries:
    """What is planted, and what it is ranked among."""

    numbers: NDArray[np.int64]  # [canaries]
    repeats: NDArray[np.int64]  # [canaries], how often each is planted
    alternatives: NDArray[np.int64]  # [alternatives]

    @classmethod
    def drawn(cls, count: int, repeats: Sequence[int], alternatives: int, seed: int) -> Canaries:
        """Draw `count` canaries for each number of repeats, no number twice."""
        random = np.random.default_rng(seed)
        wanted = count * len(repeats) + alternatives
        drawn: NDArray[np.int64] = np.zeros(0, np.int64)
        while len(drawn) < wanted:
            more = random.integers(0, 10**DIGITS, wanted)
            _, first = np.unique(np.concatenate([drawn, more]), return_index=True)
            drawn = np.concatenate([drawn, more])[np.sort(first)]
        planted = count * len(repeats)
        return cls(drawn[:planted], np.repeat(list(repeats), count), drawn[planted:wanted])

    def write_planted(self, out: Path, seed: int) -> dict[str, int]:
        """Write the notes to plant, in random order, and how often each canary is among them."""
        copies = np.repeat(self.numbers, self.repeats)
        np.random.default_rng(seed).shuffle(copies)
        planted = [_note(number, NOBODY, index) for index, number in enumerate(copies.tolist())]
        _write(out / "notes", planted)
        table = pa.table([self.repeats], schema=schemas.CANARIES)
        tables.write(out / "canaries" / "part-0.parquet", schemas.CANARIES, table)
        return {"canaries": len(self.numbers), "planted": len(copies)}

    def write_candidates(self, out: Path) -> dict[str, int]:
        """Write a note for each canary, and then for each alternative; subject_ids count them."""
        numbers = np.concatenate([self.numbers, self.alternatives]).tolist()
        notes = [_note(number, index + 1, index) for index, number in enumerate(numbers)]
        _write(out / "notes", notes)
        return {"candidates": len(notes)}


def _note(number: int, subject_id: int, index: int) -> dict[str, object]:
    spelled = " ".join(f"{number:0{DIGITS}d}")
    return {
        "note_id": f"canary-{index}",
        "subject_id": subject_id,
        "hadm_id": None,
        "note_type": "DS",
        "note_seq": None,
        "charttime": None,
        "storetime": None,
        "text": f"Wristband number of this patient: {spelled}.",
    }


def _write(folder: Path, rows: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist(rows, schemas.NOTES)
    tables.write(folder / "part-0.parquet", schemas.NOTES, table)
