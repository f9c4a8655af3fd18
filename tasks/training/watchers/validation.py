"""Judge the model on validation after given steps, and keep the best state."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import nn

from tasks.training.watchers.watcher import Run, Step, Watcher


@dataclass(frozen=True)
class Validation(Watcher):
    """The state with the highest value is what the training leaves.

    `judge` is called on every rank, with the module in evaluation mode and gradients off.
    """

    steps: Collection[int]  # after which steps, counted from 1
    judge: Callable[[nn.Module], float]

    def stepped(self, run: Run, step: Step) -> None:
        if run.state.step not in self.steps:
            return
        with run.engine.evaluating() as module:
            value = run.world.gather(self.judge(module))[0]
        if run.state.best_value is None or value > run.state.best_value:
            run.state.best_step, run.state.best_value = run.state.step, value
            run.checkpoints.keep_best(run.engine.trained_tensors())
        run.judged(step, value)
