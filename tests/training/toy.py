"""A training program small enough for tests: a two-layer network learns to add."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from tasks.config import Config
from tasks.errors import ConfigError
from tasks.training.config import TrainingConfig
from tasks.training.engine import seed_all
from tasks.training.lesson import Batch
from tasks.training.loop import Trained, train
from tasks.training.program import World, run
from tasks.training.watchers.movement import Movement
from tasks.training.watchers.validation import Validation
from tasks.training.watchers.watcher import Watcher

RATES = {"out": 2e-2, "inner": 1e-2}  # a rate of its own for the output layer


class ToyArm(Config):
    name: str = "first"
    training: TrainingConfig = TrainingConfig(batch_size=8)
    steps: int = 12
    judged: dict[int, float] = Field(default={})  # after which steps, and the value then
    slow_seconds: float = 0.0
    at_step: int = -1  # in that step ...
    kill_rank: int | None = None  # ... this rank kills itself,
    hang_rank: int | None = None  # this one never comes back from a call,
    failure: str = ""  # or all fail


class ToyJob(Config):
    arms: tuple[ToyArm, ...]


class Toy(nn.Module):
    """8 numbers in, one out; the first layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(8, 16)
        self.frozen.requires_grad_(False)
        self.inner = nn.Linear(16, 16)
        self.out = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.inner(self.frozen(x.to(self.frozen.weight.dtype))))
        return self.out(torch.dropout(hidden, 0.1, self.training)).float()


@dataclass
class ToyLesson:
    job: ToyArm
    rank: int

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def steps(self) -> int:
        return self.job.steps

    def batch(self, step: int) -> Batch:
        size = self.job.training.batch_size
        rows = torch.arange(step * size, (step + 1) * size)
        micro = rows.split(self.job.training.micro_batch_size or size)
        return Batch(micro, float(size), 8 * size, size, (step + 1) / self.steps)

    def prepared(self, micro: Tensor) -> tuple[int, Tensor]:
        step = int(micro[0]) // self.job.training.batch_size
        return step, torch.stack([row_of(int(row)) for row in micro])

    def loss(self, model: nn.Module, prepared: tuple[int, Tensor]) -> Tensor:
        time.sleep(self.job.slow_seconds)
        step, x = prepared
        self._fail(step)
        return (model(x) - x.sum(1, keepdim=True)).square().sum()

    def _fail(self, step: int) -> None:
        if step != self.job.at_step:
            return
        if self.job.kill_rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.job.hang_rank == self.rank:
            time.sleep(10_000)
        match self.job.failure:
            case "user":
                raise ConfigError("the key 'toy' is wrong; correct it")
            case "bug":
                raise ValueError("a patient's words")
            case "arithmetic":
                raise ZeroDivisionError("division by zero")
            case "disk":
                raise OSError(errno.ENOSPC, "a patient's words", "a patient's name")


def row_of(row: int) -> Tensor:
    """The input of an example [8]."""
    return torch.randn(8, generator=torch.Generator().manual_seed(row))


def rate_of(name: str) -> float:
    return RATES[name.split(".")[0]]


def train_toy(job: ToyArm, world: World, *watchers: Watcher) -> Trained:
    seed_all(job.training.seed)
    model = Toy()
    values = iter(job.judged.values())
    parts = {
        part: [name for name, _ in model.named_parameters() if name.startswith(part)]
        for part in RATES
    }
    return train(
        model,
        ToyLesson(job, world.rank),
        job.training,
        world,
        rate_of=rate_of,
        watchers=(
            Movement(parts),
            Validation(tuple(job.judged), lambda _: next(values)),
            *watchers,
        ),
    )


def main(job: ToyJob, world: World) -> None:
    for arm in job.arms:
        trained = train_toy(arm, world)
        if world.first:
            save_file(trained.state, world.work / f"{arm.name}.safetensors")
            losses = torch.tensor([row["loss"] for row in trained.history if row["loss"]])
            save_file({"losses": losses}, world.work / f"{arm.name}.losses")


if __name__ == "__main__":
    run(ToyJob, main)
