"""Whether a training collapsed: validation fell back to chance, or never left it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tasks.data.outcomes import Outcome, Rows
from tasks.errors import TrainingError
from tasks.finetune.config import MemberTraining
from tasks.measures.ranking import macro_auroc
from tasks.training.watchers.watcher import Run, Step, Watcher

CHANCE = 0.5
LEARNED = 2  # times collapse_below's way above chance: less may be noise of a small validation set
FELL_BACK = 0.25  # of the best validation AUROC's way above chance: less left is a collapse
Z_95 = 1.96
DRAWS = 40  # of random scores: their standard deviation is then known to about a ninth


class Collapse(Watcher):
    """Ends a member's training where its validation fell back to chance."""

    def __init__(
        self, name: str, config: MemberTraining, outcomes: Sequence[Outcome], rows: Rows
    ) -> None:
        """Watch the member of that name, which is validated on these rows."""
        self.name, self.config, self.outcomes, self.rows = name, config, outcomes, rows

    def judged(self, run: Run, step: Step, value: float) -> None:
        self.check(run.state.history, last=False)

    def check(self, history: Sequence[Mapping[str, Any]], *, last: bool) -> str | None:
        """See `check_collapse`, of the validation values of a history."""
        values = [row["validation"] for row in history if row["validation"] is not None]
        spread = partial(spread_by_chance, self.outcomes, self.rows)
        return check_collapse(self.name, values, self.config, spread, last=last)


def check_collapse(
    name: str,
    values: Sequence[float],
    config: MemberTraining,
    spread: Callable[[], float],
    *,
    last: bool,
) -> str | None:
    """Raise TrainingError where validation fell back to chance, or (at the end) never left it.

    Where the validation admissions are too few to tell that from chance's own spread, it is a
    warning, which is returned.

    Args:
        values: validation macro AUROCs, an epoch each.
        spread: gives the standard deviation of such a value by chance; asked only if it matters.
    """
    if not values or not config.collapse_below:
        return None
    best, now = max(values), values[-1]
    had_learned = best - CHANCE >= LEARNED * (config.collapse_below - CHANCE)
    fell_back = had_learned and now - CHANCE < FELL_BACK * (best - CHANCE)
    if not fell_back and (not last or best >= config.collapse_below):
        return None
    margin = Z_95 * spread()
    values_in_words = (
        f"validation macro AUROC {now:.3f} after epoch {len(values)}, at best {best:.3f} (chance "
        f"is 0.5, give or take {margin:.3f} with these cases)"
    )
    if fell_back:
        sure = best - now > math.sqrt(2) * margin  # a difference of two values that have the spread
    else:
        sure = best + margin < config.collapse_below
    if not sure:
        return f"'{name}' may have learned nothing: {values_in_words}; more patients would tell"
    raise TrainingError(
        f"'{name}' collapsed: {values_in_words}; lower finetune.training.learning_rate (now "
        f"{config.training.learning_rate:g}), finetune.head.learning_rate (now "
        f"{config.head.learning_rate:g}) or finetune.training.clip (now "
        f"{config.training.clip:g}), or set finetune.collapse_below to 0 to publish it"
    )


def spread_by_chance(outcomes: Sequence[Outcome], rows: Rows) -> float:
    """The standard deviation of the outcomes' mean macro AUROC where scores tell nothing.

    It follows from how many cases and controls each label has among these admissions, and how they
    overlap. All labels get one random score of an admission: a collapsed model ranks admissions
    alike for every label.
    """
    draw = np.random.default_rng(0)
    cells = [(outcome.positives(rows), outcome.observed(rows)) for outcome in outcomes]
    means = []
    for _ in range(DRAWS):
        scores = draw.random((len(rows), 1), np.float32)
        aurocs = [
            macro_auroc(np.broadcast_to(scores, positives.shape), positives, observed)
            for positives, observed in cells
        ]
        means.append(np.nanmean(aurocs))
    return float(np.std(means, ddof=1))
