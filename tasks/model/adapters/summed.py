"""Linear layers whose LoRA updates are added to the weight before the input is multiplied by it.

    x (W + s B A)^T    rather than    x W^T + s (x A^T) B^T

The same sum, computed in the other order. The factors pay where a layer is wide and many times
their rank; in a narrow one they are most of the work: at a width of 64 and a rank of 16 two
adapters take more multiplications than the layer itself, and five passes each over its output.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional as F

# an element that is read and written once more takes as long as so many multiplications
_PASS = 8


class SummedLinear(LoraLinear):
    """PEFT's layer, which makes one weight of all that is added, where that is less work."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not self.adds_weights(x.shape[:-1].numel()):
            given: Tensor = super().forward(x, *args, **kwargs)
            return given
        bias: Tensor | None = self.get_base_layer().bias  # type: ignore[assignment]
        return F.linear(x, self.summed_weight(), bias)

    def adds_weights(self, tokens: float, *, learning: bool | None = None) -> bool:
        """Whether what is added can be, and for so many tokens should be, added to the weight.

        In half precision it is not: a small update would be rounded away.

        Args:
            learning: whether there will be gradients, and dropout where there is any; None: as
                it is now.
        """
        learning = torch.is_grad_enabled() if learning is None else learning
        if self.disable_adapters or self.merged:
            return False
        base = self.get_base_layer()
        if type(base) is not nn.Linear or not _is_plain(base):
            return False
        ranks = [self.r[name] for name in self._adding if self._is_plain_update(name, learning)]
        if not ranks or len(ranks) < len(self._adding):
            return False
        # multiplications: of the factors with each token, of the factors with each other; with
        # gradients, each product comes back as two, and the whole weight gets one
        size, sides = base.weight.numel(), base.in_features + base.out_features
        products = 3 if learning else 1
        apart = products * (sum(ranks) * sides + _PASS * len(ranks) * base.out_features)
        together = products * sum(ranks) * size / tokens + (size if learning else 0)
        return together < apart

    def summed_weight(self) -> Tensor:
        """W + sum of s_i B_i A_i over the active adapters, [out, in]."""
        weight: Tensor = self.get_base_layer().weight  # type: ignore[assignment]
        for name in self._adding:
            inner: Tensor = self.lora_A[name].weight  # type: ignore[assignment]
            outer: Tensor = self.lora_B[name].weight  # type: ignore[assignment]
            scale = self.scaling[name]
            if isinstance(scale, Tensor):  # a gate, which learns
                weight = weight + (outer @ inner) * scale
            else:
                weight = torch.addmm(weight, outer, inner, alpha=scale)
        return weight

    @property
    def _adding(self) -> list[str]:
        return [name for name in self.active_adapters if name in self.lora_A]

    def _is_plain_update(self, name: str, learning: bool) -> bool:
        """Whether an adapter is s B A and nothing else: not DoRA's, say, nor with dropout."""
        inner, outer, dropout = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
        without_dropout = isinstance(dropout, nn.Identity) or not (learning or dropout.training)
        return (
            name not in self.lora_variant
            and without_dropout
            and outer.bias is None
            and _is_plain(inner)
            and _is_plain(outer)
        )


def add_weights(model: PeftModel) -> None:
    """Let the LoRA layers of a model choose how they add; their parameters keep their names."""
    for module in model.modules():
        if type(module) is LoraLinear:
            module.__class__ = SummedLinear


def _is_plain(layer: nn.Linear) -> bool:
    """Whether the layer's weight is there, whole (ZeRO-3 parts it) and in float32."""
    return layer.weight.dtype == torch.float32 and not hasattr(layer.weight, "ds_id")
