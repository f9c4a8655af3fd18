"""Whether what should learn moves, and nothing else does.

The paper's released code never activated its second adapter: it was saved as it had been made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tasks.errors import TrainingError
from tasks.training.engine import Fingerprint
from tasks.training.watchers.watcher import Run, Step, Watcher

# In the first step, what is multiplied by a zero gets no gradient: of LoRA's B A, B is zero
SECOND_STEP = 2


class Movement(Watcher):
    """After the second step every tensor that is trained has moved; no frozen one ever does."""

    def __init__(
        self,
        parts: Mapping[str, Sequence[str]],
        due: Mapping[str, int] | None = None,
        tolerant: Collection[str] = (),
    ) -> None:
        """Watch these parts.

        Args:
            parts: what the trained parameters belong to -> their names, e.g. an adapter's.
            due: the step after which a part must have moved, where that is later than the second:
                an outcome may be observed in none of the first batches.
            tolerant: parts of which up to half may be still: among all linear layers may be some
                that a base reads itself (Mamba's dt_proj) or multiplies by zero (Gemma 3n's).
        """
        self.parts = parts
        self.tolerant = tolerant
        self.still: list[str] = []  # what had not moved, where that was tolerated
        self.due = due or {}

    def begin(self, run: Run) -> None:
        self.from_the_start, self.skipped = run.state.step == 0, 0
        if self.from_the_start:
            self.trained = run.engine.fingerprints(trained=True)
        self.frozen = run.engine.fingerprints(trained=False)

    def stepped(self, run: Run, step: Step) -> None:
        before, self.skipped = self.skipped, run.engine.skipped_steps
        if not self.from_the_start or before < self.skipped:  # fp16 overflowed: nothing moved
            return
        due = {
            part: names
            for part, names in self.parts.items()
            if run.state.step - self.skipped == max(self.due.get(part, 0), SECOND_STEP)
        }
        if due:
            self._check(run, due)

    def end(self, run: Run) -> None:
        here = _differing(self.frozen, run.engine.fingerprints(trained=False))
        if changed := sorted({name for names in run.world.gather(here) for name in names}):
            raise TrainingError(
                f"{len(changed)} tensors that are frozen changed in training, e.g. {changed[0]}; "
                "use the pinned versions of PEFT and DeepSpeed"
            )

    def _check(self, run: Run, parts: Mapping[str, Sequence[str]]) -> None:
        moved = _differing(self.trained, run.engine.fingerprints(trained=True))
        for part, names in parts.items():
            still = [name for name in names if name in self.trained and name not in moved]
            self.still += still
            if len(still) > (len(names) / 2 if part in self.tolerant else 0):
                raise TrainingError(
                    f"{len(still)} of {len(names)} tensors of '{part}' had not moved after step "
                    f"{run.state.step}, e.g. {still[0]}: the base does not call that layer (leave "
                    "it out of adapter.targets), or learning_rate is too small"
                )


def _differing(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> set[str]:
    return {name for name, value in after.items() if before[name] != value}
