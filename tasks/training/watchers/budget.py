"""The wall clock that a training may take: whoever compares methods gives each the same time."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.training.watchers.watcher import Run, Step, Watcher


@dataclass(frozen=True)
class Budget(Watcher):
    """Ends a training after the first validation that comes when its time is spent.

    What it leaves is the best state so far, as always. A training that resumes has spent what it
    had spent at its last checkpoint. (Taylor et al. 2024 evaluate every 200 steps, and stop there.)
    """

    minutes: float | None  # None: all the time that it takes

    def judged(self, run: Run, step: Step, value: float) -> None:
        if self.minutes is None:
            return
        spent = run.world.gather(run.state.seconds)[0]  # ranks' clocks differ: the first one's
        run.state.stopped = spent >= 60 * self.minutes
