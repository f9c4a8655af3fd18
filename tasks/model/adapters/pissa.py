"""LoRA from the weights' first singular vectors (Meng et al. 2024), the base left as it is.

The paper takes these vectors out of the base, and PEFT does so in place: then the adapter fits a
base that nobody else has. Here a second, frozen adapter subtracts what the first one starts from:
W + B A - B0 A0, which is the same. The two are published as one, a plain LoRA of twice the rank.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import Linear, LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor

from tasks.errors import ConfigError

_MORE = 8  # vectors that the fast decomposition computes beyond those that are wanted


def start_of(name: str) -> str:
    """The adapter that subtracts what the one of that name started from."""
    return f"{name}-start"


@torch.no_grad()
def start_from_the_weights(model: PeftModel, name: str, iterations: int | None, key: str) -> None:
    """Let a new LoRA be the first part of its layers' weights; add one that takes it off again.

    Args:
        iterations: of a fast decomposition; None: the exact one.

    Raises ConfigError where a layer is not linear, or has no more vectors than the rank.
    """
    start = start_of(name)
    model.add_adapter(start, copy.deepcopy(model.peft_config[name]))
    for path, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if not isinstance(layer, Linear):
            raise ConfigError(f"{key} names {path}, which is not a linear layer; leave it out")
        weight = dequantize_module_weight(layer.get_base_layer())
        if layer.r[name] > min(weight.shape):
            raise ConfigError(
                f"the rank of pissa is {layer.r[name]}, but {path} has {min(weight.shape)} "
                "singular vectors; lower it"
            )
        scale = layer.scaling[name]
        layer.scaling[start] = -scale
        if weight.is_meta:
            continue
        left, right = _first_vectors(
            weight.T if layer.fan_in_fan_out else weight, layer.r[name], iterations
        )
        for adapter in (name, start):
            # rounded as the weights are: an engine that computes in bf16 rounds what is frozen
            for part, values in ((layer.lora_A, right), (layer.lora_B, left)):
                parameter = part[adapter].weight
                assert isinstance(parameter, Tensor)
                parameter.copy_((values / scale**0.5).to(weight.dtype))


def is_pissa(model: PeftModel, name: str) -> bool:
    """Whether a model's adapter is to be published together with what it started from."""
    return start_of(name) in model.peft_config


def as_lora(
    model: PeftModel, name: str, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], PeftConfig]:
    """The adapter's tensors, by PEFT's names, and its start's as one plain LoRA of the base."""
    start = get_peft_model_state_dict(
        model, adapter_name=start_of(name), save_embedding_layers=False
    )
    joined = {}
    for key, tensor in tensors.items():
        before = start[key].to(tensor)
        outer = ".lora_B." in key
        joined[key] = torch.cat([tensor, -before if outer else before], dim=1 if outer else 0)
    config = copy.deepcopy(model.peft_config[name])
    config.r *= 2  # type: ignore[attr-defined]
    config.lora_alpha *= 2  # type: ignore[attr-defined]
    return joined, config


def _first_vectors(weight: Tensor, rank: int, iterations: int | None) -> tuple[Tensor, Tensor]:
    """Factors [out, rank] and [rank, in] of the best approximation of a weight [out, in]."""
    if iterations is None:
        left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
        left, values, right = left[:, :rank], values[:rank], right[:rank]
    else:
        columns = min(rank + _MORE, *weight.shape)
        left, values, right = torch.svd_lowrank(weight.float(), columns, niter=iterations)
        left, values, right = left[:, :rank], values[:rank], right[:, :rank].T
    roots = values.sqrt()
    return left * roots, roots[:, None] * right
