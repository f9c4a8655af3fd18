"""Gates: how many times an adapter's update is added is learned, one number for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.errors import ModelError
from tasks.model.adapters.files import PREFIX

FILE = "gates.safetensors"  # beside the task adapter: by the layer's name and the adapter's
GATES = "gates"  # the name of the part of a model that they are


def gate(model: PeftModel, adapter: str) -> None:
    """Make the adapter's scale in each layer a parameter, which starts at what the scale is.

    Raises ModelError where its method has no scale.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer) and adapter in getattr(layer, "scaling", {})
    ]
    if not layers:
        raise ModelError(f"the adapter '{adapter}' has no scale that could be learned")
    for layer in layers:
        assert isinstance(layer, nn.Module)
        scales: dict[str, Any] = layer.scaling  # type: ignore[assignment]
        gates = getattr(layer, GATES, None) or nn.ParameterDict()
        device = next(layer.parameters()).device
        scale = torch.tensor([scales[adapter]], dtype=torch.float32, device=device)
        gates[adapter] = nn.Parameter(scale)
        layer.add_module(GATES, gates)
        scales[adapter] = gates[adapter]  # PEFT multiplies by it in each forward pass


def gates_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """All gates of a model, by the names that it gives them."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if f".{GATES}." in f".{name}"
    }


def write_gates(path: Path, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write a model's gates, if it has any.

    Args:
        state: the trained parameters by the model's names.
    """
    tensors = {name: state[name].detach().float().cpu().clone() for name in gates_of(model)}
    if tensors:
        save_file(tensors, path / FILE)


def gates_in(path: Path, adapter: str) -> dict[str, float]:
    """What an adapter's gates were written as, by the language model's names of their layers."""
    if not (path / FILE).is_file():
        return {}
    before, after = f"backbone.{PREFIX}", f".{GATES}.{adapter}"
    return {
        name.removeprefix(before).removesuffix(after): tensor.item()
        for name, tensor in load_file(path / FILE).items()
        if name.endswith(after)
    }


def read_gates(path: Path, model: nn.Module) -> None:
    """Set a model's gates to those that were written. Raises ModelError where they differ."""
    gates = gates_of(model)
    if not gates:
        return
    tensors = load_file(path / FILE) if (path / FILE).is_file() else {}
    if tensors.keys() != gates.keys():
        raise ModelError(f"{path / FILE} does not fit its model; run finetune anew")
    with torch.no_grad():
        for name, parameter in gates.items():
            parameter.copy_(tensors[name])
