"""Let only those matrices learn in a step that moved most when they last did (SlimFit).

Ardakani et al. 2023 (arXiv 2305.18513): matrices are ranked by the mean relative size of their last
update, and the lowest share of them is still in the next step. What a layer's weight would need for
its gradient, the layer's input, is then not kept, which is most of what a step's memory holds.

Differently from there, norms' weights always learn, as biases do, and moments of what is still
fade: under ZeRO an optimizer steps all parameters together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.errors import ConfigError
from tasks.training.config import FreezingConfig
from tasks.training.watchers.watcher import Run, Step, Watcher

_UNKNOWN = 1e10  # above any relative update: what has not moved yet comes first, in random order


class Scores(nn.Module):
    """The mean relative size of each matrix's last update; a part of the model for checkpoints."""

    last: Tensor  # [matrices]

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.register_buffer("last", _UNKNOWN * (1 + torch.rand(count, generator=draw)))

    def _apply(self, fn: Any, recurse: bool = True) -> Scores:
        """They stay float32 where an engine makes the model bf16."""
        super()._apply(  # type: ignore[no-untyped-call]
            lambda tensor: fn(tensor).to(tensor.dtype), recurse
        )
        return self


class Freezing(Watcher):
    """Keeps most matrices still in a step."""

    def __init__(
        self, model: nn.Module, names: Sequence[str], config: FreezingConfig, seed: int
    ) -> None:
        """Of a model some of whose trained parameters have these names; gives it the scores.

        Raises ConfigError where there are too few matrices to choose from.
        """
        parameters = dict(model.named_parameters())
        self.matrices = [name for name in names if parameters[name].dim() > 1]
        self.config = config
        self.still = int(config.share * len(self.matrices))  # how many
        if not self.still:
            raise ConfigError(
                f"freezing keeps {config.share:g} of {len(self.matrices)} matrices still, which is "
                "none; raise freezing.share, or leave freezing out"
            )
        self.scores = Scores(len(self.matrices), seed)
        model.add_module("freezing", self.scores)

    @property
    def all_moved_after(self) -> int:
        """A step by which every matrix has learned.

        All have had their turn after 1 / (1 - share) steps; one that had no gradient, as LoRA's A
        has none before its B moved, has another one later.
        """
        return 4 * math.ceil(len(self.matrices) / (len(self.matrices) - self.still))

    def begin(self, run: Run) -> None:
        self._choose(run)

    def differentiated(self, run: Run) -> None:
        self.before = {
            index: run.engine.names[name].detach().clone()
            for index, name in enumerate(self.matrices)
            if name not in run.engine.still
        }

    def stepped(self, run: Run, step: Step) -> None:
        last = self.scores.last
        for index, before in self.before.items():
            after = run.engine.names[self.matrices[index]].detach()
            sizes = before.float().abs() + self.config.epsilon
            moved = float(((after.float() - before.float()).abs() / sizes).mean())
            # what had no gradient gets another turn, but after others that have had none
            last[index] = moved or last[index] / 2
        self.before = {}
        self._choose(run)

    def end(self, run: Run) -> None:
        run.engine.keep_still(frozenset())

    def _choose(self, run: Run) -> None:
        lowest = self.scores.last.argsort(stable=True)[: self.still]
        run.engine.keep_still(frozenset(self.matrices[index] for index in lowest.tolist()))
