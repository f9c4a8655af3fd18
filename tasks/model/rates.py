"""The rates at which a member's adapters learn: by how low their layer lies, and by which factor.

The heads' are their own (`heads/config.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from peft.tuners.lora import LoraLayer
from torch import nn

from tasks.model.adapters.build import language_model
from tasks.model.bases.layers import depths_of
from tasks.model.classifier import Classifier

_OUTER = ("lora_B", "lora_embedding_B")


def graded(
    rates: Mapping[str, float],
    model: Classifier,
    *,
    layer_decay: float | None = None,
    lora_plus: float | None = None,
) -> dict[str, float]:
    """The peak learning rate of each parameter, by name.

    Args:
        rates: those that they have where nothing else is said.
        layer_decay: what a layer's rate is multiplied by from one layer to the one below it; the
            embedding counts as the layer below the first (Tinn et al. 2021, Zhang et al. 2020).
        lora_plus: how many times A's rate B has (Hayou et al. 2024).
    """
    base = language_model(model.backbone)
    key = "finetune.training.layer_decay"
    depths = {} if layer_decay is None else depths_of(base, key)
    outer = set() if lora_plus is None else _outer_factors(model)
    factors = {
        name: (layer_decay or 1.0) ** depths.get(id(parameter), 0)
        * (lora_plus or 1.0 if id(parameter) in outer else 1.0)
        for name, parameter in model.named_parameters()
        if name in rates
    }
    return {name: rate * factors.get(name, 1.0) for name, rate in rates.items()}


def _outer_factors(model: nn.Module) -> set[int]:
    """B of every update B A, by its identity."""
    return {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, LoraLayer)
        for part in _OUTER
        for parameter in getattr(layer, part).parameters()
    }
