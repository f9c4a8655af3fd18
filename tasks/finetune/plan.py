"""Which admissions make up which training step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.data.outcomes import Outcome, Rows
from tasks.training.lesson import Batch

VALIDATIONS = 16  # of a training at most: where admissions are few, a pass is shorter than one
POOL_BATCHES = 50  # as many batches are sorted by length together: little padding, much shuffling


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
    min_steps: int = 0
    _epoch: int = -1
    _batches: list[Rows] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self._passes

    @property
    def validated(self) -> range:
        """The steps after which validation follows: ends of epochs, the last one among them."""
        every = self.steps_per_epoch * math.ceil(self._passes / VALIDATIONS)
        return range(self.steps, 0, -every)[::-1]

    @property
    def _passes(self) -> int:
        return max(self.epochs, math.ceil(self.min_steps / self.steps_per_epoch))

    def batch(self, step: int) -> Batch:
        """The batch of a step counted from 0, in micro-batches of about equal length."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        rows = self._batches[index]
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
