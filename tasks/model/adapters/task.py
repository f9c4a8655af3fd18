"""What is learned for a task on a base: an adapter of PEFT's, or weights of the base itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.model.adapters.adalora import GiveOutRanks, Ranks, note_ranks
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import TASK, AdaLora, AdapterMethod, BaseName
from tasks.model.adapters.parts import parameters_of, without
from tasks.model.adapters.pissa import start_of
from tasks.model.adapters.virtual import VirtualTokens
from tasks.training.watchers.watcher import Watcher

Backbone = PreTrainedModel | PeftModel  # a base, perhaps with adapters on it


class Learned(Protocol):
    """What is learned for a task."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """PEFT's names of what takes part in the forward pass, the one that learns last."""
        ...

    @property
    def penalty(self) -> Callable[[], Tensor] | None:
        """What is added to the loss of an observed cell."""
        ...

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """What it does between steps."""
        ...

    def learn(self) -> None:
        """Let it be trained, where PEFT has not been told so."""
        ...

    def names_in(self, model: nn.Module) -> list[str]:
        """The names of its trained parameters in a model that it is part of."""
        ...

    def write(
        self, path: Path, model: Backbone, state: Mapping[str, Tensor], base: BaseName
    ) -> None:
        """Write it into a directory.

        Args:
            model: that it is part of.
            state: the trained parameters, as the model calls them.
            base: what the base is called.
        """
        ...

    def set_aside(self, model: Backbone) -> AbstractContextManager[None]:
        """Within it, it takes no part; nothing is trained, within it and after it."""
        ...


class PeftAdapter:
    """An adapter of PEFT's."""

    def __init__(self, model: PeftModel, ranks: Ranks | None = None) -> None:
        """Of a model with the adapter on it; ranks: AdaLoRA's, where they are to be given out."""
        self.model, self.ranks = model, ranks
        self.virtual: VirtualTokens | None = None  # where it is tokens before a text

    @classmethod
    def new(
        cls,
        base: PreTrainedModel,
        method: AdapterMethod,
        key: str,
        steps: int,
        freeze_below: int = 0,
    ) -> PeftAdapter:
        """Put a new one on a base; see `add_new_adapter`. It is trained for so many steps."""
        model = add_new_adapter(base, method, TASK, key, freeze_below)
        if not isinstance(method, AdaLora):
            return cls(model)
        ranks = Ranks(model, TASK, method, steps)
        model.add_module("ranks", ranks)  # so that its averages are in checkpoints
        return cls(model, ranks)

    @property
    def adapters(self) -> tuple[str, ...]:
        start = start_of(TASK)
        return (start, TASK) if start in self.model.peft_config else (TASK,)

    @property
    def penalty(self) -> Callable[[], Tensor] | None:
        return self.ranks.penalty if self.ranks else None

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        return (GiveOutRanks(self.ranks),) if self.ranks else ()

    def learn(self) -> None:
        """PEFT was told so with the names of the adapters."""

    def names_in(self, model: nn.Module) -> list[str]:
        return parameters_of(model)[TASK]

    def write(
        self, path: Path, model: Backbone, state: Mapping[str, Tensor], base: BaseName
    ) -> None:
        if self.ranks:
            note_ranks(self.ranks, self.model, state)
        write_adapter(path, self.model, TASK, state, base)

    def set_aside(self, model: Backbone) -> AbstractContextManager[None]:
        if self.virtual:
            return self.virtual.set_aside()
        return without(self.model, *self.adapters)
