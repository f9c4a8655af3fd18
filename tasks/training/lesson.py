"""What a model is trained on, step by step, and its batches, prepared ahead of their step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from tasks.training.program import World


@dataclass(frozen=True)
class Batch:
    """What one optimizer step learns from, over all ranks; the same on every rank.

    The gradient is that of sum(loss of each micro-batch) / weight, so that neither the number of
    ranks nor the size of a micro-batch changes it.
    """

    micro: Sequence[Any]  # micro-batches, light (say, indices): each is given to one rank
    weight: float  # what the summed loss is divided by: target tokens, or observed cells
    tokens: int
    examples: int
    epoch: float  # passes over the data, at the end of the step


class Lesson(Protocol):
    """What a model is trained on."""

    @property
    def name(self) -> str:
        """The name of this training in the history and in progress, e.g. "fused"."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; a function of the step alone."""
        ...

    def prepared(self, micro: Any) -> Any:
        """The micro-batch as tensors, on the CPU; called ahead of the step, in another thread."""
        ...

    def loss(self, model: nn.Module, prepared: Any) -> Tensor:
        """The summed (not averaged) loss of a micro-batch, one float32 number, on our device.

        Call the model itself, `model(...)`, not a part of it: it is the DeepSpeed engine.
        """
        ...


@dataclass(frozen=True)
class Turn:
    """A micro-batch that this rank computes."""

    index: int  # among the micro-batches of the batch
    micro: Any  # prepared
    counts: bool  # whether no other rank computes it
    last: bool


def batches_ahead(lesson: Lesson, first: int, world: World) -> Iterator[tuple[Batch, list[Turn]]]:
    """Every batch from that step on, with this rank's part of it, made while the last one trains.

    Every rank takes equally many micro-batches, since a backward pass is a collective; where there
    are too few, one is taken twice, the second time with weight zero:
    3 micro-batches on 2 ranks: rank 0 takes 0 and 2, rank 1 takes 1 and (with zero) 0.
    """

    def make(step: int) -> tuple[Batch, list[Turn]]:
        batch = lesson.batch(step)
        rounds = math.ceil(len(batch.micro) / world.size)
        turns = []
        for round_ in range(rounds):
            index = round_ * world.size + world.rank
            counts = index < len(batch.micro)
            micro = lesson.prepared(batch.micro[index if counts else index % len(batch.micro)])
            turns.append(Turn(index, micro, counts, last=round_ == rounds - 1))
        return batch, turns

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(make, first) if first < lesson.steps else None
        for step in range(first + 1, lesson.steps + 1):
            assert coming is not None
            made = coming.result()
            coming = pool.submit(make, step) if step < lesson.steps else None
            yield made


def with_penalty(loss: Tensor, targets: int, penalty: Callable[[], Tensor] | None) -> Tensor:
    """The summed loss of some targets with the gradient of a penalty, but not with its value."""
    if penalty is None:
        return loss
    value = penalty()
    return loss + (value - value.detach()) * targets
