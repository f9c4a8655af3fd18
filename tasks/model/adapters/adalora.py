"""AdaLoRA's ranks, given to the layers whose singular values matter most (Zhang et al. 2023).

PEFT's own allocator reads gradients that ZeRO has taken away, writes parameters that ZeRO then
overwrites, and forgets its averages when a run is killed. This one asks DeepSpeed for both, and
keeps the averages in buffers, which checkpoints hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.adalora import AdaLoraLayer
from torch import Tensor, nn

from tasks.model.adapters.methods import AdaLora
from tasks.training.watchers.watcher import Run, Step, Watcher

_PARTS = ("lora_A", "lora_B", "lora_E")  # [rank, in], [out, rank], and singular values [rank, 1]


class Ranks(nn.Module):
    """How much each singular value of each layer matters, and how many may stay."""

    def __init__(self, model: PeftModel, adapter: str, method: AdaLora, steps: int) -> None:
        """Of a model with a new AdaLoRA adapter, which is trained for so many steps."""
        super().__init__()
        self.method, self.steps, self.adapter = method, steps, adapter
        self.layers = [
            {part: getattr(module, part)[adapter] for part in _PARTS}
            for module in model.modules()
            if isinstance(module, AdaLoraLayer)
        ]
        self.full_until = math.floor(method.full_share * steps)
        self.final_from = steps - math.floor(method.final_share * steps)
        for index, layer in enumerate(self.layers):
            for part, parameter in layer.items():
                for what in ("importance", "uncertainty"):
                    blank = torch.zeros_like(parameter, dtype=torch.float32)
                    self.register_buffer(f"{what}_{part}_{index}", blank)
            kept = torch.ones_like(layer["lora_E"], dtype=torch.bool)
            self.register_buffer(f"kept_{index}", kept)

    def _apply(self, fn: Any, recurse: bool = True) -> Ranks:
        """Averages stay float32 where an engine makes the model bf16."""
        super()._apply(  # type: ignore[no-untyped-call]
            lambda tensor: fn(tensor).to(tensor.dtype), recurse
        )
        return self

    def observe(self) -> None:
        """Take the gradients of a step into the averages."""
        from deepspeed.utils import safe_get_full_grad

        beta = self.method.beta
        for index, layer in enumerate(self.layers):
            for part, parameter in layer.items():
                gradient = safe_get_full_grad(parameter)
                assert gradient is not None, f"{part} has no gradient"
                here = (parameter.detach().float() * gradient.float()).abs()
                here = here.nan_to_num(0.0, 0.0, 0.0)  # fp16 overflowed: the step is skipped
                importance = self._buffer("importance", part, index)
                importance.mul_(beta).add_(here, alpha=1 - beta)
                uncertainty = self._buffer("uncertainty", part, index)
                uncertainty.mul_(beta).add_((here - importance).abs(), alpha=1 - beta)

    def budget(self, step: int) -> int | None:
        """How many singular values may stay after a step, counted from 1; None: it is no time."""
        method, layers = self.method, len(self.layers)
        if step <= self.full_until or step > self.final_from:
            return None
        if step < self.final_from and step % method.every_steps:
            return None
        left = 1 - (step - self.full_until) / max(1, self.final_from - self.full_until)
        return layers * method.rank + int(layers * (method.initial_rank - method.rank) * left**3)

    def choose(self, budget: int) -> None:
        """Let the most important singular values stay, this many over all layers."""
        scores = [self._scores(index) for index in range(len(self.layers))]
        gone = sum(len(each) for each in scores) - budget
        if gone < 1:
            return
        threshold = torch.cat(scores).kthvalue(gone).values
        for index, each in enumerate(scores):
            self.get_buffer(f"kept_{index}").copy_((each > threshold)[:, None])

    @torch.no_grad()
    def drop(self) -> None:
        """Set the singular values that may not stay to zero."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_set_full_fp32_param

        for index, layer in enumerate(self.layers):
            values, kept = layer["lora_E"], self.get_buffer(f"kept_{index}")
            whole = safe_get_full_fp32_param(values)
            if whole is not None:
                safe_set_full_fp32_param(values, whole.view(values.shape) * kept)
            values.mul_(kept)

    def penalty(self) -> Tensor:
        """How far the singular vectors are from orthogonal: Frobenius norms, their mean."""
        norms = []
        for layer in self.layers:
            for vectors in (layer["lora_A"].float(), layer["lora_B"].float().T):
                products = vectors @ vectors.T
                norms.append((products - torch.eye(len(products), device=products.device)).norm())
        return torch.stack(norms).mean() * self.method.orthogonality

    def _scores(self, index: int) -> Tensor:
        """The importance of a layer's singular values with their vectors: [rank]."""
        entries = {
            part: self._buffer("importance", part, index) * self._buffer("uncertainty", part, index)
            for part in _PARTS
        }
        return entries["lora_E"][:, 0] + entries["lora_A"].mean(1) + entries["lora_B"].mean(0)

    def _buffer(self, what: str, part: str, index: int) -> Tensor:
        return self.get_buffer(f"{what}_{part}_{index}")


class GiveOutRanks(Watcher):
    """Observes the gradients of each step, and drops singular values after it."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def differentiated(self, run: Run) -> None:
        if run.state.step < self.ranks.final_from:
            self.ranks.observe()

    def stepped(self, run: Run, step: Step) -> None:
        budget, final = self.ranks.budget(run.state.step), run.state.step > self.ranks.final_from
        if budget is not None:
            self.ranks.choose(budget)
        if budget is not None or final:
            self.ranks.drop()


def note_ranks(ranks: Ranks, model: PeftModel, state: Mapping[str, Tensor]) -> None:
    """Write into the adapter's configuration which ranks stayed, and when they fell."""
    config: Any = model.peft_config[ranks.adapter]
    config.rank_pattern = rank_pattern(model, ranks.adapter, state)
    config.total_step, config.deltaT = ranks.steps, ranks.method.every_steps
    config.tinit = ranks.full_until
    config.tfinal = ranks.steps - ranks.final_from


def rank_pattern(model: PeftModel, adapter: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Which singular values of each layer stayed, in PEFT's terms; at least one of each."""
    pattern = {}
    ending = f".lora_E.{adapter}"
    for name, values in state.items():
        if name.endswith(ending):
            stayed = (values.view(-1) != 0).tolist()
            layer = name.removeprefix("base_model.model.").removesuffix(f".{adapter}")
            pattern[layer] = stayed if any(stayed) else [True, *stayed[1:]]
    return pattern
