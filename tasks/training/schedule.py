"""The learning rate of a step, as a share of its peak: a closed form, so nothing to save."""

from __future__ import annotations

import math

from tasks.training.config import TrainingConfig


def share_of_peak(step: int, steps: int, config: TrainingConfig) -> float:
    """The share at a step counted from 0 of `steps`: up to 1 in the warmup, then down to 0.

    The first step already moves (at 1/warmup steps of the peak) and so does the last.

    >>> config = TrainingConfig(warmup_share=0.2, schedule="linear")
    >>> [round(share_of_peak(step, 10, config), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    warmup = math.ceil(steps * config.warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
