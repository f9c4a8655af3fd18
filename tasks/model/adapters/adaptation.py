"""A base with what is trained on it, by any method: its parts, its penalties, what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.model.adapters.adalora import GiveOutRanks, Ranks, note_ranks
from tasks.model.adapters.blocks import CONFIG as BLOCKS
from tasks.model.adapters.blocks import insert_blocks, read_blocks, without_new, write_blocks
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import CONFIG, write_adapter
from tasks.model.adapters.methods import AdaLora, BaseName, DomainMethod, Full, InsertBlocks, Pissa
from tasks.model.adapters.parts import activate, parameters_of, scale_of
from tasks.model.adapters.pissa import start_of
from tasks.model.adapters.summed import add_weights
from tasks.model.adapters.whole import Whole, write_whole
from tasks.training.watchers.watcher import Watcher

Adapted = PeftModel | Whole | PreTrainedModel  # a base with what was trained on it
ADAPTER = "default"  # PEFT's name for the only adapter of a directory


@dataclass(frozen=True)
class Adaptation:
    """A base, of which the method's parameters are trained, and no others."""

    method: DomainMethod
    model: PreTrainedModel | PeftModel
    ranks: Ranks | None = None  # of AdaLoRA

    @classmethod
    def of(cls, base: PreTrainedModel, method: DomainMethod, steps: int, key: str) -> Adaptation:
        """Put the method on a frozen base.

        Args:
            steps: those of the training.
            key: the configuration key of the target layers, for errors.
        """
        if isinstance(method, Full):
            return cls(method, base.requires_grad_(True))
        if isinstance(method, InsertBlocks):
            insert_blocks(base, method.after, key.removesuffix(".targets"))
            return cls(method, base)
        model = add_new_adapter(base, method, ADAPTER, key)
        active = [ADAPTER, start_of(ADAPTER)] if isinstance(method, Pissa) else [ADAPTER]
        activate(model, active, [ADAPTER])
        if not isinstance(method, AdaLora):
            return cls(method, model)
        ranks = Ranks(model, ADAPTER, method, steps)
        model.add_module("ranks", ranks)  # so that its averages are in checkpoints
        return cls(method, model, ranks)

    @property
    def penalty(self) -> Callable[[], Tensor] | None:
        """What is added to the loss of a token."""
        return self.ranks.penalty if self.ranks else None

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """What the method does between steps."""
        return (GiveOutRanks(self.ranks),) if self.ranks else ()

    def parts(self, model: nn.Module) -> dict[str, list[str]]:
        """The names of the trained parameters, as a model calls them that this one is part of."""
        if isinstance(self.model, PeftModel):
            return {ADAPTER: parameters_of(model)[ADAPTER]}
        ours = {id(p) for p in self.model.parameters() if p.requires_grad}
        if isinstance(self.method, InsertBlocks):
            return {"blocks": [n for n, p in model.named_parameters() if id(p) in ours]}
        return {"base": [n for n, parameter in model.named_parameters() if id(parameter) in ours]}

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of the method."""
        scale = scale_of(self.model, ADAPTER)
        return {"method": self.method.kind} | ({} if scale is None else {"scale": round(scale, 6)})

    def write(self, path: Path, state: Mapping[str, Tensor], base: BaseName) -> None:
        """Write a PEFT directory, or a model where all of it was trained.

        Args:
            state: the trained parameters by name.
        """
        if isinstance(self.method, InsertBlocks):
            write_blocks(path, self.method.after, state)
            return
        if isinstance(self.model, PreTrainedModel):
            write_whole(path, self.model, state)
            return
        if self.ranks:
            note_ranks(self.ranks, self.model, state)
        write_adapter(path, self.model, ADAPTER, state, base)


@contextmanager
def set_aside(model: Adapted) -> Iterator[None]:
    """Within it the model is the base as it was."""
    if isinstance(model, PreTrainedModel):
        with without_new(model):
            yield
        return
    if may_pack(model):
        with model.disable_adapter():
            yield
        return
    # PEFT's own asks for parts that only models have which generate
    model.forward = model.base_model.forward  # type: ignore[method-assign, union-attr]
    try:
        yield
    finally:
        del model.forward


def load_adapted(base: PreTrainedModel, path: Path) -> Adapted:
    """The base with what was trained on it, in evaluation mode."""
    if (path / BLOCKS).is_file():
        base.eval()  # type: ignore[no-untyped-call]
        return read_blocks(base, path)
    if not (path / CONFIG).is_file():
        return Whole(base, path).eval()
    model = PeftModel.from_pretrained(base, str(path)).eval()
    add_weights(model)
    return model


def may_pack(model: nn.Module) -> bool:
    """Whether a row of the model may hold several documents: virtual tokens stand before rows."""
    return not (isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning)
