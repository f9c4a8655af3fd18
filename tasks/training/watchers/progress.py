"""How far a training has come, for the launcher: how it began, now and then a step, every value."""

from __future__ import annotations

import time
from typing import Any

from tasks.launch import Progress
from tasks.training.watchers.watcher import Run, Step, Watcher

REPORT_SECONDS = 0.5


class ReportProgress(Watcher):
    """Reports to whoever launched the program."""

    def begin(self, run: Run) -> None:
        self.reported = time.monotonic()
        beginning = run.checkpoints.beginning
        run.world.report(
            Progress(run.lesson.name, run.state.step, run.lesson.steps, note=beginning)
        )

    def stepped(self, run: Run, step: Step) -> None:
        if run.is_over or time.monotonic() - self.reported > REPORT_SECONDS:
            self.reported = time.monotonic()
            self._report(run, loss=step.loss, learning_rate=step.learning_rate)

    def judged(self, run: Run, step: Step, value: float) -> None:
        self._report(run, validation=value)

    def _report(self, run: Run, **numbers: Any) -> None:
        rate = run.state.tokens / max(run.state.seconds, 1e-9)
        run.world.report(
            Progress(
                arm=run.lesson.name,
                step=run.state.step,
                total=run.lesson.steps,
                tokens_per_second=rate,
                peak_mib=run.peak_mib,
                **numbers,
            )
        )
