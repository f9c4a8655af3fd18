"""The training loop under DeepSpeed: one model, from its first step or its last checkpoint.

    trained = train(model, lesson, config, world)

Every number that decides a step follows from the step's number and the seed: the examples, the
learning rate, the dropout. So a run that was killed goes on exactly as if it had not been, and a
checkpoint need not hold a position in a data loader nor the state of a random generator.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tasks.errors import TrainingError
from tasks.launch import Progress
from tasks.training.checkpoint import Checkpoints, State
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine, seed_all
from tasks.training.program import Preempted, World
from tasks.training.schedule import share_of_peak

REPORT_SECONDS = 0.5


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
    """What a model is trained on, step by step."""

    @property
    def arm(self) -> str:
        """The name of this training in the history and in progress, e.g. "fused"."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; a function of the step alone."""
        ...

    def loss(self, model: nn.Module, micro: Any) -> Tensor:
        """The summed (not averaged) loss of a micro-batch, one float32 number, on our device.

        Call the model itself, `model(...)`, not a part of it: it is the DeepSpeed engine.
        """
        ...


@dataclass(frozen=True)
class Validation:
    """When to judge the model, and how; the state with the highest value is kept.

    `judge` is called on every rank, with the module in evaluation mode and gradients off; the
    first rank's value counts. It may raise a TrainingError where the run has collapsed.
    """

    steps: Collection[int]  # after which steps, counted from 1
    judge: Callable[[nn.Module], float]


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


def train(
    model: nn.Module,
    lesson: Lesson,
    config: TrainingConfig,
    world: World,
    *,
    rate_of: Callable[[str], float] | None = None,
    validation: Validation | None = None,
    try_out: Callable[[nn.Module], None] | None = None,
    check_gradients: Callable[[Mapping[str, float]], None] | None = None,
) -> Trained:
    """Train the parameters that require a gradient; resume where world.work has a checkpoint.

    Args:
        try_out: given the model before the first step, also of a resumed training, in evaluation
            mode and without gradients; on every rank.
        rate_of: the peak learning rate of a parameter, by its name; default config.learning_rate.
        check_gradients: told, once, the norm of every trained parameter's first gradient.

    A training of the same arm that was finished in this work folder is taken from there. Several
    models may be trained one after another; the engine of each is taken down. Raises Preempted
    after saving when the program was told to stop; TrainingError where the loss is not finite.
    """
    places = Checkpoints(world, lesson.arm)
    state, tensors = places.finished()
    if tensors is None:
        engine = Engine.build(model, config, world, rate_of or (lambda _: config.learning_rate))
        try:
            state = places.resume(engine)
            if try_out:
                with engine.evaluating() as module:
                    try_out(module)
            _report_start(world, lesson, state, places.beginning)
            run = _Run(engine, lesson, config, world, places, state)
            tensors = run.to_the_end(validation, check_gradients)
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
    )


@dataclass
class _Run:
    """One training under way."""

    engine: Engine
    lesson: Lesson
    config: TrainingConfig
    world: World
    places: Checkpoints
    state: State

    def to_the_end(
        self,
        validation: Validation | None,
        check_gradients: Callable[[Mapping[str, float]], None] | None,
    ) -> dict[str, Tensor]:
        """Take the remaining steps; return the trained tensors, the best ones if judged."""
        state, before = self.state, self.state.seconds
        began = reported = time.monotonic()
        while state.step < self.lesson.steps:
            batch = self.lesson.batch(state.step)
            rate = share_of_peak(state.step, self.lesson.steps, self.config)
            check = check_gradients if state.step == 0 else None
            loss, stop = self._step(batch, rate, check)
            state.step += 1
            state.tokens += batch.tokens
            state.examples += batch.examples
            state.seconds = before + time.monotonic() - began
            state.history.append(self._row(batch, loss, rate))
            last = state.step == self.lesson.steps
            if last or time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                self._report(loss, rate * self.config.learning_rate)
            if validation and state.step in validation.steps:
                self._validate(validation, batch)
            if stop or (not last and state.step % self.config.checkpoint_every_steps == 0):
                self.places.save(self.engine, state)
            if stop:
                raise Preempted
        judged = state.best_value is not None
        tensors = self.places.best() if judged else self.engine.trained_tensors()
        self.places.finish(state, tensors)
        return tensors

    def _step(
        self,
        batch: Batch,
        rate: float,
        check_gradients: Callable[[Mapping[str, float]], None] | None,
    ) -> tuple[float, bool]:
        """One optimizer step; the mean loss over all ranks, and whether any was told to stop."""
        total = 0.0
        # Every rank takes equally many micro-batches, since a backward pass is a collective; where
        # there are too few, one is taken twice, the second time with weight zero:
        # 3 micro-batches on 2 ranks: rank 0 takes 0 and 2, rank 1 takes 1 and (with zero) 0.
        rounds = math.ceil(len(batch.micro) / self.world.size)
        for turn in range(rounds):
            index = turn * self.world.size + self.world.rank
            counts = index < len(batch.micro)
            seed_all(self.config.seed, self.state.step, index)
            micro = batch.micro[index if counts else index % len(batch.micro)]
            loss = self.lesson.loss(self.engine.model, micro)
            # the engine averages gradients over the ranks: weigh each by their number
            self.engine.backward(
                loss * (self.world.size / batch.weight if counts else 0.0),
                last=turn == rounds - 1,
            )
            total += loss.item() / batch.weight if counts else 0.0
        if check_gradients:
            check_gradients(self.engine.gradient_norms())
        total, stop = self.world.sum(total, float(self.world.told_to_stop))
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss of '{self.lesson.arm}' is {total} at step {self.state.step + 1}; "
                "lower learning_rate or clip, or raise warmup_share"
            )
        self.engine.step(rate)
        return total, stop > 0

    def _validate(self, validation: Validation, batch: Batch) -> None:
        with self.engine.evaluating() as module:
            value = self.world.gather(validation.judge(module))[0]
        row = self._row(batch, None, None) | {"validation": value}
        self.state.history.append(row)
        self._report(validation=value)
        if self.state.best_value is None or value > self.state.best_value:
            self.state.best_step, self.state.best_value = self.state.step, value
            self.places.keep_best(self.engine.trained_tensors())

    def _row(self, batch: Batch, loss: float | None, rate: float | None) -> dict[str, Any]:
        return {
            "arm": self.lesson.arm,
            "step": self.state.step,
            "epoch": batch.epoch,
            "tokens": self.state.tokens,
            "examples": self.state.examples,
            "loss": loss,
            "learning_rate": None if rate is None else rate * self.config.learning_rate,
            "validation": None,
            "seconds": self.state.seconds,
            "peak_mib": _peak_mib(self.world),
        }

    def _report(
        self,
        loss: float | None = None,
        rate: float | None = None,
        validation: float | None = None,
    ) -> None:
        self.world.report(
            Progress(
                arm=self.lesson.arm,
                step=self.state.step,
                total=self.lesson.steps,
                loss=loss,
                learning_rate=rate,
                validation=validation,
                tokens_per_second=self.state.tokens / max(self.state.seconds, 1e-9),
                peak_mib=_peak_mib(self.world),
            )
        )


def _report_start(world: World, lesson: Lesson, state: State, note: str) -> None:
    world.report(Progress(arm=lesson.arm, step=state.step, total=lesson.steps, note=note))


def _peak_mib(world: World) -> float:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
