"""Packed sequences on their way into a corpus: written a shard at a time, read in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.pretrain.packing import Packed


@dataclass(frozen=True)
class Unshuffled:
    """Sequences in a folder. Their tokens stay on disk; their pieces, 12 bytes each, are held."""

    folder: Path
    length: int  # tokens of a sequence
    _ids: list[NDArray[np.int32]] = field(default_factory=list)  # of each shard [sequences, length]
    _pieces: list[NDArray[np.int32]] = field(default_factory=list)  # of each sequence
    _starts: list[NDArray[np.int32]] = field(default_factory=list)
    _subject_ids: list[NDArray[np.int64]] = field(default_factory=list)

    def write(self, sequences: Iterable[Packed], shard: int) -> None:
        """Write the sequences of a shard; memory does not grow but for their pieces."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pieces, starts, subject_ids = [], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        with self._file(shard, "bin").open("wb") as file:
            for packed in sequences:
                file.write(packed.input_ids.tobytes())
                pieces.append(len(packed.starts))
                starts.append(np.array(packed.starts, np.int32))
                subject_ids.append(np.array(packed.subject_ids, np.int64))
        np.savez(
            self._file(shard, "npz"),
            pieces=np.array(pieces, np.int32),
            starts=np.concatenate(starts),
            subject_ids=np.concatenate(subject_ids),
        )

    def open(self, shards: int) -> None:
        """Open what was written, the shards one after another."""
        for shard in range(shards):
            with np.load(self._file(shard, "npz")) as arrays:
                self._pieces.append(arrays["pieces"])
                self._starts.append(arrays["starts"])
                self._subject_ids.append(arrays["subject_ids"])
            count = len(self._pieces[-1])
            if count:  # an empty file cannot be mapped
                file = self._file(shard, "bin")
                self._ids.append(np.memmap(file, np.int32, "r", shape=(count, self.length)))

    def __len__(self) -> int:
        return sum(map(len, self._ids))

    @property
    def subject_ids(self) -> NDArray[np.int64]:
        """Whose each piece is, [pieces]."""
        return np.concatenate(self._subject_ids)

    @property
    def pieces(self) -> pa.Table:
        """The starts and subject_ids of each sequence."""
        ends = np.cumsum(np.concatenate(self._pieces), dtype=np.int32)
        offsets = pa.array(np.concatenate([[np.int32(0)], ends]))
        starts = pa.array(np.concatenate(self._starts))
        return pa.table(
            {
                "starts": pa.ListArray.from_arrays(offsets, starts),
                "subject_ids": pa.ListArray.from_arrays(offsets, pa.array(self.subject_ids)),
            }
        )

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The token ids of these sequences, [rows, length]."""
        bounds = np.cumsum([0, *map(len, self._ids)])
        ids = np.empty((len(rows), self.length), np.int32)
        for shard, first, end in zip(self._ids, bounds, bounds[1:], strict=False):
            inside = (rows >= first) & (rows < end)
            ids[inside] = shard[rows[inside] - first]
        return ids

    def remove(self, shards: int) -> None:
        """Delete the files."""
        for shard in range(shards):
            self._file(shard, "bin").unlink()
            self._file(shard, "npz").unlink()

    def _file(self, shard: int, suffix: str) -> Path:
        return self.folder / f"sequences-{shard}.{suffix}"
