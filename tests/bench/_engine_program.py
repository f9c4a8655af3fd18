"""A training program that notes when its DeepSpeed engine stands, and ends."""

from __future__ import annotations

import time

import peft  # noqa: F401  # as the programs of the stages do
from torch import nn

from tasks.config import Config
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine
from tasks.training.program import World, run

BUILT = "built.txt"  # in the work folder: time.time() when the first rank had its engine


class EngineJob(Config):
    training: TrainingConfig


def main(job: EngineJob, world: World) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    engine = Engine.build(model, job.training, world, lambda _: 1e-3)
    if world.first:
        (world.work / BUILT).write_text(str(time.time()))
    engine.close()


if __name__ == "__main__":
    run(EngineJob, main)
