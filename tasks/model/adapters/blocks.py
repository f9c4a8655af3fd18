"""New blocks between those of a frozen decoder (Inner Adaptor Architecture, arXiv 2408.12902).

A new block is a copy of the one below it whose outputs are zero at first, so that it changes
nothing. Set aside, it is not called at all: the base is then the same to the bit.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ConfigError, ModelError

WEIGHTS, CONFIG = "blocks.safetensors", "blocks.json"
_OUTPUTS = ("o_proj", "down_proj")  # what adds to the states that pass through a LLaMA's block


class WithNew(nn.Module):
    """A block of the base, and a new one that reads what it gives."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.new, self.is_on = block, copy.deepcopy(block), True
        for name, layer in self.new.named_modules():
            if name.rpartition(".")[2] in _OUTPUTS:
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    def __getattr__(self, name: str) -> Any:
        """What a model asks of its blocks, such as their type of attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        below: Tensor = self.block(states, *args, **kwargs)
        if not self.is_on:
            return below
        above: Tensor = self.new(below, *args, **kwargs)
        return above


def insert_blocks(model: PreTrainedModel, after: Collection[int], key: str) -> None:
    """Put a new block after each of these of a frozen model, counted from 1; train those alone.

    Raises ConfigError where there is no such block, or the base is not built like a LLaMA.
    """
    blocks = next((part for part in model.modules() if isinstance(part, nn.ModuleList)), None)
    if blocks is None or not all(
        any(name.endswith(f".{output}") for name, _ in blocks[0].named_modules())
        for output in _OUTPUTS
    ):
        raise ConfigError(
            f"{key} is insert_blocks, but a {type(model).__name__} is not built like a LLaMA, "
            f"whose blocks have {' and '.join(_OUTPUTS)}; take another method"
        )
    if above := [index for index in after if index > len(blocks)]:
        raise ConfigError(
            f"{key}.after names block {above[0]}, but the base has {len(blocks)}; lower it"
        )
    for index in after:
        blocks[index - 1] = WithNew(blocks[index - 1])
        blocks[index - 1].new.requires_grad_(True)


def inserted(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the new blocks, by name."""
    return {
        f"{path}.new.{name}": parameter
        for path, part in model.named_modules()
        if isinstance(part, WithNew)
        for name, parameter in part.new.named_parameters()
    }


@contextmanager
def without_new(model: nn.Module) -> Iterator[None]:
    """Within it the model is the base alone."""
    parts = [part for part in model.modules() if isinstance(part, WithNew)]
    for part in parts:
        part.is_on = False
    try:
        yield
    finally:
        for part in parts:
            part.is_on = True


def write_blocks(path: Path, after: Collection[int], state: Mapping[str, Tensor]) -> None:
    """Write the new blocks. Raises ModelError where a tensor is not finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError("the new blocks hold NaN or infinite values; lower the learning rate")
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
    (path / CONFIG).write_text(json.dumps({"after": sorted(after)}) + "\n")


@torch.no_grad()
def read_blocks(model: PreTrainedModel, path: Path) -> PreTrainedModel:
    """Put the new blocks of a directory on their base. ModelError: they do not fit it."""
    try:
        after = json.loads((path / CONFIG).read_text())["after"]
        tensors = load_file(path / WEIGHTS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{path} holds no readable blocks ({type(error).__name__}); it needs {CONFIG} and "
            f"{WEIGHTS}"
        ) from None
    insert_blocks(model, after, "pretrain.adapter")
    parameters = inserted(model)
    if {name: t.shape for name, t in tensors.items()} != {
        name: p.shape for name, p in parameters.items()
    }:
        raise ModelError(f"{path}: the blocks do not fit the base; use the one they were made for")
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
    return model.requires_grad_(False)
