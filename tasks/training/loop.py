"""The training loop under DeepSpeed: one model, from its first step or its last checkpoint.

    trained = train(model, lesson, config, world, watchers=[Movement(...), Validation(...)])

Every number that decides a step follows from the step's number and the seed: the examples, the
learning rate, the dropout. So a run that was killed goes on exactly as if it had not been, and a
checkpoint need not hold a position in a data loader nor the state of a random generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tasks.errors import TrainingError
from tasks.training.checkpoint import Checkpoints
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine, seed_all
from tasks.training.lesson import Batch, Lesson, Turn, batches_ahead
from tasks.training.program import Preempted, World
from tasks.training.schedule import share_of_peak
from tasks.training.watchers.divergence import Divergence
from tasks.training.watchers.history import History
from tasks.training.watchers.progress import ReportProgress
from tasks.training.watchers.trimming import Trimming
from tasks.training.watchers.watcher import Run, Step, Watcher


@dataclass(frozen=True)
class Trained:
    """What training left: the tensors that were trained, and how it went."""

    state: dict[str, Tensor]  # by parameter name, whole, float32, on the CPU, on every rank
    history: list[dict[str, Any]] = field(repr=False)  # rows of schemas.HISTORY
    steps: int
    best_step: int  # the step that `state` is from
    best_value: float | None
    tokens: int  # of all steps, over all ranks
    examples: int
    stopped: bool = False  # before the last step of the lesson


def train(
    model: nn.Module,
    lesson: Lesson,
    config: TrainingConfig,
    world: World,
    *,
    rate_of: Callable[[str], float] | None = None,
    watchers: Sequence[Watcher] = (),
    apart: Collection[str] = (),
) -> Trained:
    """Train the parameters that require a gradient; resume where world.work has a checkpoint.

    Args:
        rate_of: the peak learning rate of a parameter, by its name; default config.learning_rate.
        watchers: what is looked at on the way, in this order.
        apart: names of parameters that a watcher may keep still.

    A training of the same name that was finished in this work folder is taken from there. Several
    models may be trained one after another; the engine of each is taken down. Raises Preempted
    after saving when the program was told to stop; TrainingError where the loss is not finite, or
    runs away.
    """
    checkpoints = Checkpoints(world, lesson.name)
    state, tensors = checkpoints.finished()
    if tensors is None:
        rate_of = rate_of or (lambda _: config.learning_rate)
        engine = Engine.build(model, config, world, rate_of, apart)
        try:
            state = checkpoints.resume(engine)
            everyone = (History(), ReportProgress(), Divergence(), *watchers, Trimming())
            run = Run(engine, lesson, config, world, checkpoints, state, everyone)
            tensors = _to_the_end(run)
        finally:
            engine.close()
    return Trained(
        state=tensors,
        history=state.history,
        steps=state.step,
        best_step=state.best_step if state.best_value is not None else state.step,
        best_value=state.best_value,
        tokens=state.tokens,
        examples=state.examples,
        stopped=state.stopped,
    )


def _to_the_end(run: Run) -> dict[str, Tensor]:
    """Take the remaining steps; return the trained tensors, the best ones if they were judged."""
    engine, lesson, config, world, state = run.engine, run.lesson, run.config, run.world, run.state
    for watcher in run.watchers:
        watcher.begin(run)
    began = time.monotonic() - state.seconds
    world.pulse.sign()
    # one that was stopped, and killed before its result was written, takes no further step
    first = lesson.steps if state.stopped else state.step
    for batch, turns in batches_ahead(lesson, first, world):
        # forward and backward
        loss = _differentiated(run, batch, turns)
        # over all ranks: the mean loss, and whether one was told to stop
        mean, stop = world.sum(loss / batch.weight, float(world.told_to_stop))
        share = share_of_peak(state.step, lesson.steps, config)
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss of '{lesson.name}' is {mean} at step {state.step + 1}; lower "
                f"learning_rate ({share * config.learning_rate:.2g} in that step) or clip, or "
                "raise warmup_share"
            )
        for watcher in run.watchers:
            watcher.differentiated(run)
        # clip and step
        engine.step(share)
        state.step += 1
        state.tokens += batch.tokens
        state.examples += batch.examples
        state.seconds = time.monotonic() - began
        world.pulse.rest()
        for watcher in run.watchers:
            watcher.stepped(run, Step(batch, mean, share * config.learning_rate))
        # save
        if stop or (not run.is_over and state.step % config.checkpoint_every_steps == 0):
            run.checkpoints.save(engine, state)
        if stop:
            raise Preempted
        if state.stopped:
            break
        world.pulse.sign()
    world.pulse.rest()
    for watcher in run.watchers:
        watcher.end(run)
    judged = state.best_value is not None
    tensors = run.checkpoints.best() if judged else engine.trained_tensors()
    run.checkpoints.finish(state, tensors)
    return tensors


def _differentiated(run: Run, batch: Batch, turns: Sequence[Turn]) -> float:
    """Take the gradients of a batch, a micro-batch at a time; return this rank's summed loss."""
    world = run.world
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    for turn in turns:
        world.pulse.sign()
        seed_all(run.config.seed, run.state.step, turn.index)
        loss = run.lesson.loss(run.engine.model, turn.micro)
        world.pulse.sign()
        # the engine averages gradients over the ranks: weigh each by their number
        weight = world.size / batch.weight if turn.counts else 0.0
        run.engine.backward(loss * weight, last=turn.last)
        total += loss.detach() if turn.counts else 0.0
    return float(total)
