"""The states of a frozen trunk, or of lower layers: of all notes, and of the labels' titles.

They tell as much of patients as the notes do, and stay in the store like them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.notes import Notes
from tasks.data.outcomes import Rows
from tasks.errors import ModelError

VALUE = np.dtype("<f2")
BYTES = VALUE.itemsize
PARTS = 2  # of a state that is joined with its token's embedding, of equal width


@dataclass(frozen=True)
class States:
    """The token states of all admissions' notes."""

    hadm_ids: NDArray[np.int64]  # [admissions]
    splits: tuple[str, ...]  # [admissions]
    values: Sequence[NDArray[np.float16]]  # of each admission's note, [tokens, hidden]

    @classmethod
    def read(cls, folder: Path) -> States:
        """Read what `finetune.embed` wrote, all of it into memory."""
        hadm_ids, splits, values = [], [], []
        for part in tables.parts(folder / "states"):
            for batch in tables.stream(part, schemas.STATES):
                hadm_ids.append(batch["hadm_id"].to_numpy())
                splits += batch["split"].to_pylist()
                for tokens, states in zip(
                    batch["tokens"].to_pylist(), batch["states"], strict=True
                ):
                    flat = np.frombuffer(states.as_buffer(), VALUE)
                    values.append(flat.reshape(tokens, -1))
        return cls(np.concatenate(hadm_ids), tuple(splits), values)

    @property
    def width(self) -> int:
        return self.values[0].shape[1]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each admission's note, at least one."""
        return np.array([len(values) for values in self.values])

    def padded(self, rows: Rows) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """These admissions' states, padded with zeros, and where there is a note.

        Returns states [rows, longest, hidden] and present [rows, longest].
        """
        lengths = self.lengths[rows]
        states = np.zeros((len(rows), int(lengths.max()), self.width), np.float16)
        for index, row in enumerate(rows):
            states[index, : lengths[index]] = self.values[row]
        return states, np.arange(states.shape[1])[None, :] < lengths[:, None]


@dataclass(frozen=True)
class NotesAndLower:
    """Encoded notes, and what leaves the frozen lower layers when a base reads them."""

    notes: Notes
    lower: States  # of each note those of all its rows, as a base reads it

    def __post_init__(self) -> None:
        if not np.array_equal(self.notes.hadm_ids, self.lower.hadm_ids):
            raise ModelError("the kept states are of other notes than these; run finetune anew")

    @property
    def hadm_ids(self) -> NDArray[np.int64]:
        return self.notes.hadm_ids

    @property
    def splits(self) -> tuple[str, ...]:
        return self.notes.splits

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each admission's note, at least one."""
        return self.notes.lengths

    def padded(
        self, rows: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float16]]:
        """These admissions' ids and where there is a note, as `Notes.padded`, and the states.

        Returns of the states [tokens of all of them, hidden], one note after another.
        """
        return *self.notes.padded(rows), np.concatenate([self.lower.values[row] for row in rows])


Inputs = Notes | States | NotesAndLower
"""What a member's model reads of the admissions, in one order."""


def read_titles(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read what `finetune.embed` wrote of titles: text -> its mean token state [hidden]."""
    table = tables.read(folder / "titles", schemas.TITLE_STATES)
    states = np.array(table["state"].to_pylist(), np.float32)
    return dict(zip(table["title"].to_pylist(), states, strict=True))


def write_titles(folder: Path, titles: Sequence[str], states: NDArray[np.float32]) -> None:
    """Write the mean token states [titles, hidden] of some titles."""
    import pyarrow as pa

    table = pa.table(
        {
            "title": pa.array(titles, pa.string()),
            "state": pa.array(list(states), pa.list_(pa.float32())),
        }
    )
    path = folder / "titles" / "part-0.parquet"
    tables.write(path, schemas.TITLE_STATES, table.cast(schemas.TITLE_STATES))
