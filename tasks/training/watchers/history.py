"""The history of a training: a row a step, and a row a validation."""

from __future__ import annotations

from tasks.training.watchers.watcher import Run, Step, Watcher, row_of


class History(Watcher):
    """Adds rows of schemas.HISTORY to the training's state, which checkpoints keep."""

    def stepped(self, run: Run, step: Step) -> None:
        row = row_of(run, step, loss=step.loss, learning_rate=step.learning_rate)
        run.state.history.append(row)

    def judged(self, run: Run, step: Step, value: float) -> None:
        run.state.history.append(row_of(run, step, validation=value))
