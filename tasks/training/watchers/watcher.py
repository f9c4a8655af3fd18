"""What looks at a training: told of its begin, every step, every value, and its end."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any

import torch

from tasks.training.checkpoint import Checkpoints, State
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine
from tasks.training.lesson import Batch, Lesson
from tasks.training.program import World


@dataclass(frozen=True)
class Run:
    """One training under way, the same on every rank but for `world.rank`."""

    engine: Engine
    lesson: Lesson
    config: TrainingConfig
    world: World
    checkpoints: Checkpoints
    state: State
    watchers: tuple[Watcher, ...]

    @property
    def is_over(self) -> bool:
        """Whether the last step has been taken, or a watcher wants no more."""
        return self.state.stopped or self.state.step == self.lesson.steps

    @property
    def peak_mib(self) -> float:
        """Of this rank's memory: the GPU's, or else the process's."""
        if self.world.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def judged(self, step: Step, value: float) -> None:
        """Tell all watchers that the model has this value on validation."""
        for watcher in self.watchers:
            watcher.judged(self, step, value)


@dataclass(frozen=True)
class Step:
    """A step that was taken; its number is in the run's state."""

    batch: Batch
    loss: float  # mean over all ranks
    learning_rate: float


class Watcher:
    """Looks at a training; all its methods are called on every rank, in the watchers' order.

    They may raise a TrainingError, which ends the training.
    """

    def begin(self, run: Run) -> None:
        """Before the first step, also of a training that resumes."""

    def differentiated(self, run: Run) -> None:
        """Before every optimizer step, when the gradients of all its micro-batches are there."""

    def stepped(self, run: Run, step: Step) -> None:
        """After every optimizer step."""

    def judged(self, run: Run, step: Step, value: float) -> None:
        """After a validation; `value` is the first rank's, the higher the better."""

    def end(self, run: Run) -> None:
        """After the last step, before the result is kept."""


def row_of(run: Run, step: Step, **values: Any) -> dict[str, Any]:
    """A row of schemas.HISTORY, of which these values are known."""
    row: dict[str, Any] = {
        "arm": run.lesson.name,
        "step": run.state.step,
        "epoch": step.batch.epoch,
        "tokens": run.state.tokens,
        "examples": run.state.examples,
        "loss": None,
        "learning_rate": None,
        "validation": None,
        "seconds": run.state.seconds,
        "peak_mib": run.peak_mib,
    }
    return row | values
