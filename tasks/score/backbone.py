"""A base that is loaded once, and what members add to it: LoRAs, switched and not reloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from tasks.model.adapters.build import add_saved_adapter, language_model
from tasks.model.adapters.gates import gates_in
from tasks.model.adapters.parts import weigh
from tasks.model.bases.files import is_quantized, width_of
from tasks.model.bases.load import Base, load_base
from tasks.model.classifier import Classifier, load_classifier
from tasks.model.trunk import freeze, summands_of
from tasks.score.member import Part, ScoredMember
from tasks.score.summed import keep_sums
from tasks.training.engine import precision_of, precision_without_training
from tasks.training.program import World


@dataclass(frozen=True)
class BaseKey:
    """Members with the same one share a base."""

    base: str
    layer: int | None
    words: bool
    chunk: int | None
    dtype: torch.dtype
    alone: str | None  # the member that has it for itself

    @classmethod
    def of(cls, member: ScoredMember, device: torch.device) -> BaseKey:
        job = member.job
        alone = member.key if member.parts is None else None
        world = World(0, 1, 0, Path(), device)  # of which only the device counts
        dtype = precision_of(member.training, world)
        if job.frozen:  # as its states were computed
            dtype = precision_without_training(member.training, world, width_of(job.base))
        return cls(str(job.base), job.layer, job.words, job.chunk, dtype, alone)


@dataclass
class Backbone:
    """A base on its device, and the LoRAs on it."""

    base: Base
    classifier: Classifier | None = None  # of the one member that has the base for itself
    peft: PeftModel | None = None
    users: Counter[str] = field(default_factory=Counter)  # members that add a LoRA of that name
    active: tuple[str, ...] | None = None  # LoRAs; None: PEFT may have changed which

    @property
    def device(self) -> torch.device:
        return self.base.model.device

    @classmethod
    def load(cls, member: ScoredMember, key: BaseKey, device: torch.device) -> Backbone:
        """Load a member's base, without what it adds, unless the base is its own alone.

        Raises ModelError or ConfigError where it cannot be loaded.
        """
        job, alone = member.job, member.parts is None
        merged = alone and job.frozen and not is_quantized(job.base)
        dtype = torch.float32 if merged else key.dtype
        base = load_base(job.base, dtype, None, job.layer, words=job.words, chunk=job.chunk)
        backbone = cls(base)
        if alone:
            summands = summands_of(job.summands, job.weights, job.fusions)
            if job.frozen:
                freeze(base, summands, merge=merged)
            else:
                backbone.classifier = load_classifier(base, job.member, summands)
                backbone.classifier.to(device)
        base.model.requires_grad_(False)
        base.model.eval()  # type: ignore[no-untyped-call]
        nn.Module.to(base.model, device, key.dtype if merged else None)
        return backbone

    def add(self, parts: Sequence[Part]) -> None:
        """Put the LoRAs of a member on the base, those that are not there yet.

        Raises ModelError where one does not fit.
        """
        for part in parts:
            if not self.users[part.name]:
                self._put_on(part)
            self.users[part.name] += 1

    def remove(self, parts: Sequence[Part]) -> None:
        """Take off those LoRAs of a member that no other one adds."""
        for part in parts:
            self.users[part.name] -= 1
            if not self.users[part.name] and self.peft is not None:
                self.switch_to([])  # PEFT warns of an active one
                self.peft.delete_adapter(part.name)
                if left := list(self.peft.peft_config):
                    self.peft.active_adapter = left[0]  # by which PEFT finds the base
                    self.active = None
                else:
                    self.peft.unload()  # the layers of the base itself
                    self.peft = None

    def switch_to(self, parts: Sequence[Part]) -> None:
        """Let these LoRAs, and no other, take part in the forward pass."""
        if self.peft is None:
            return
        names = tuple(part.name for part in parts)
        if self.active != names:
            tuner = self.peft.base_model
            assert isinstance(tuner, BaseTuner)
            tuner.set_adapter(list(names), inference_mode=True)
            keep_sums(self.peft)
            self.active = names

    def states(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """Token states [texts, tokens, hidden] of right-padded ids, both [texts, tokens]."""
        of = self.classifier or self.base
        return of.states(input_ids, present)

    def _put_on(self, part: Part) -> None:
        self.active = None
        self.peft = add_saved_adapter(self.peft or self.base.model, part.path, part.name)
        weigh(self.peft, part.name, part.weight)
        if part.gated:
            scales = gates_in(*part.gated)
            for name, layer in language_model(self.peft).named_modules():
                if isinstance(layer, BaseTunerLayer) and name in scales:
                    getattr(layer, "scaling", {})[part.name] = scales[name]
        self.peft.requires_grad_(False)
        self.peft.eval()
        self.peft.to(self.device)
