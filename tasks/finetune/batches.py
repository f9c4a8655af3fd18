"""Which admissions make up which training step, and how their notes lie in a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks import schemas, tables
from tasks.finetune.outcomes import Outcome, Rows
from tasks.training.loop import Batch

POOL_BATCHES = 50  # as many batches are sorted by length together: little padding, much shuffling


@dataclass(frozen=True)
class Notes:
    """The encoded notes of all admissions, one after another in one array."""

    hadm_ids: NDArray[np.int64]  # [admissions]
    splits: tuple[str, ...]  # [admissions]
    offsets: NDArray[np.int64]  # [admissions + 1]
    tokens: NDArray[np.int32]  # [tokens]

    @classmethod
    def read(cls, encoded: Path) -> Notes:
        """Read what `encode` wrote; an empty note becomes the single token 0."""
        table = tables.read(encoded / "encoded", schemas.ENCODED).combine_chunks()
        lists = table["input_ids"].combine_chunks()
        offsets = lists.offsets.to_numpy().astype(np.int64)
        return cls(
            hadm_ids=table["hadm_id"].to_numpy(),
            splits=tuple(table["split"].to_pylist()),
            offsets=offsets,
            tokens=lists.values.to_numpy(),
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each admission's note, at least one."""
        return np.maximum(np.diff(self.offsets), 1)

    def padded(self, rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
        """These admissions' ids, padded on the right, and where there is a note.

        Returns ids [rows, longest] int64 and present [rows, longest] bool.
        """
        lengths = self.lengths[rows]
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        for index, row in enumerate(rows):
            note = self.tokens[self.offsets[row] : self.offsets[row + 1]]
            ids[index, : len(note)] = note
        present = np.arange(ids.shape[1])[None, :] < lengths[:, None]
        return torch.from_numpy(ids).to(device), torch.from_numpy(present).to(device)


@dataclass
class Plan:
    """The order of the training admissions: a function of the seed and the step's number alone."""

    rows: Rows
    lengths: NDArray[np.int64]  # [admissions], of all
    outcomes: Sequence[Outcome]
    batch_size: int
    epochs: int
    seed: int
    parts: int  # micro-batches of a batch
    _epoch: int = -1
    _batches: list[Rows] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def batch(self, step: int) -> Batch:
        """The batch of a step counted from 0, in micro-batches of about equal length."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        rows = self._batches[place]
        return Batch(
            micro=[rows[part :: self.parts] for part in range(min(self.parts, len(rows)))],
            weight=sum(outcome.observed_cells(rows) for outcome in self.outcomes),
            tokens=int(self.lengths[rows].sum()),
            examples=len(rows),
            epoch=(step + 1) / self.steps_per_epoch,
        )

    def _shuffled(self, epoch: int) -> list[Rows]:
        """Batches of similar length: pools of shuffled rows are sorted, cut, and shuffled again."""
        draw = np.random.default_rng([self.seed, epoch])
        rows = draw.permutation(self.rows)
        pool = self.batch_size * POOL_BATCHES
        pools = [rows[start : start + pool] for start in range(0, len(rows), pool)]
        ordered = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        starts = range(0, len(ordered), self.batch_size)
        batches = [ordered[start : start + self.batch_size] for start in starts]
        return [batches[index] for index in draw.permutation(len(batches))]
