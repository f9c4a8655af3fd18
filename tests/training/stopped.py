"""The toy program, whose arms are all stopped after their third step, having saved."""

from __future__ import annotations

from contextlib import suppress

from tasks.training.program import Preempted, World, run
from tasks.training.watchers.watcher import Run, Step, Watcher
from tests.training.toy import ToyJob, train_toy


class Stop(Watcher):
    def stepped(self, run: Run, step: Step) -> None:
        run.world.told_to_stop = run.state.step >= 2  # heard in the next step


def main(job: ToyJob, world: World) -> None:
    for arm in job.arms:
        with suppress(Preempted):
            train_toy(arm, world, Stop())
        world.told_to_stop = False


if __name__ == "__main__":
    run(ToyJob, main)
