"""Whether the loss runs away: it is no NaN, but what was learned is lost and does not come back."""

from __future__ import annotations

import math
from collections import deque

from tasks.errors import TrainingError
from tasks.training.watchers.watcher import Run, Step, Watcher

# That all of so many losses lie above all of as many earlier ones is no chance where the loss only
# scatters, however widely: 1 in 10^11 for two given windows
STEPS = 20
SHARE_LOST = 0.5  # of the way down from the first losses
MARGIN = 0.2  # and beyond the lower ones


class Divergence(Watcher):
    """Stops a training whose loss stays above all of an earlier window, half of the way back."""

    def begin(self, run: Run) -> None:
        self.last: deque[float] = deque(maxlen=STEPS)
        self.began = self.reached = math.inf  # the highest loss of the first window, of the lowest
        for row in run.state.history:
            if row["loss"] is not None:
                self._take(row["loss"])

    def stepped(self, run: Run, step: Step) -> None:
        self._take(step.loss)
        lost = max(SHARE_LOST * (self.began - self.reached), MARGIN * abs(self.reached))
        if len(self.last) == STEPS and min(self.last) > self.reached + lost:
            raise TrainingError(
                f"the loss of '{run.lesson.name}' diverges: in each of the {STEPS} steps up to "
                f"step {run.state.step} it was {min(self.last):.4g} or more, though {STEPS} "
                f"earlier ones had {self.reached:.4g} or less; lower learning_rate "
                f"({step.learning_rate:.2g} in that step) or clip, or raise warmup_share"
            )

    def _take(self, loss: float) -> None:
        self.last.append(loss)
        if len(self.last) == STEPS:
            highest = max(self.last)
            self.began = highest if self.began == math.inf else self.began
            self.reached = min(self.reached, highest)
