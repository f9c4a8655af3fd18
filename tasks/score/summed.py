"""The weights that the active LoRAs make of narrow layers, computed once and not in each pass."""

from __future__ import annotations

from functools import partial

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional

from tasks.model.adapters.summed import SummedLinear

MOST_BYTES = 64 << 20  # of all such layers' weights, which are there twice
_TOKENS = 2048  # of a pass: where it would sum the weights
_FORWARD = "forward"


@torch.no_grad()
def keep_sums(model: PeftModel) -> None:
    """Keep the summed weights of the adapters that are active now, in place of those kept before.

    Nothing is kept of a model whose layers are larger than MOST_BYTES together.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SummedLinear)]
    weights: list[Tensor] = [layer.get_base_layer().weight for layer in layers]  # type: ignore[misc]
    size = sum(weight.nbytes for weight in weights)
    for layer in layers:
        vars(layer).pop(_FORWARD, None)
        if size <= MOST_BYTES and layer.adds_weights(_TOKENS, learning=False):
            bias: Tensor | None = layer.get_base_layer().bias  # type: ignore[assignment]
            summed = partial(functional.linear, weight=layer.summed_weight(), bias=bias)
            setattr(layer, _FORWARD, summed)
