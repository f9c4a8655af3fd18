"""Encoded notes: the token ids of all admissions' notes, and how some of them lie in a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.outcomes import Rows


@dataclass(frozen=True)
class Notes:
    """The encoded notes of all admissions, one after another in one array."""

    hadm_ids: NDArray[np.int64]  # [admissions]
    splits: tuple[str, ...]  # [admissions]
    offsets: NDArray[np.int64]  # [admissions + 1]
    tokens: NDArray[np.int32]  # [tokens]
    pad: int  # the id with which a shorter note is filled up; an empty note is this alone

    @classmethod
    def read(cls, encoded: Path, pad: int) -> Notes:
        """Read what `finetune.encode` wrote."""
        table = tables.read(encoded / "encoded", schemas.ENCODED).combine_chunks()
        lists = table["input_ids"].combine_chunks()
        offsets = lists.offsets.to_numpy().astype(np.int64)
        return cls(
            hadm_ids=table["hadm_id"].to_numpy(),
            splits=tuple(table["split"].to_pylist()),
            offsets=offsets,
            tokens=lists.values.to_numpy(),
            pad=pad,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each admission's note, at least one."""
        return np.maximum(np.diff(self.offsets), 1)

    def padded(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """These admissions' ids, padded on the right, and where there is a note.

        Returns ids [rows, longest] and present [rows, longest].
        """
        notes = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return padded(notes, self.pad)


def padded(
    texts: Sequence[Sequence[int] | NDArray[np.int32]], pad: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Lay texts of token ids into one matrix, filled up on the right; an empty one is one pad.

    >>> ids, present = padded([[5, 6, 7], [8]], pad=2)
    >>> ids.tolist(), present.tolist()
    ([[5, 6, 7], [8, 2, 2]], [[True, True, True], [True, False, False]])
    """
    lengths = np.maximum([len(text) for text in texts], 1)
    ids = np.full((len(texts), int(lengths.max())), pad, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return ids, np.arange(ids.shape[1])[None, :] < lengths[:, None]
