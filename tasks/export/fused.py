"""All adapters of a member as one LoRA: A one below the other, B side by side, with their scales.

dW = s0 B0 A0 + s1 B1 A1 = [s0 B0, s1 B1] [A0; A1], of rank r0 + r1, exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tasks.errors import ModelError
from tasks.model.adapters.files import CONFIG, PREFIX, WEIGHTS, read_adapter
from tasks.model.bases.files import OUTPUT_LAYERS

SCORE = "score"  # what transformers calls the head of a decoder that classifies
_INNER = (".lora_A.weight", ".lora_embedding_A")  # [rank, in]
_OUTER = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}
# what changes how an update is computed, in PEFT's configuration of a LoRA
_BEYOND_PLAIN = ("use_dora", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication")


@dataclass(frozen=True)
class Part:
    """An adapter of the sum."""

    name: str
    path: Path  # its PEFT directory
    weight: float  # its update is added so many times
    gates: Mapping[str, float] = field(default_factory=dict)  # by layer, the scale that it learned


@dataclass(frozen=True)
class Affine:
    """A head that is linear in the last token's state: its logits are h @ weight.T + bias."""

    weight: Tensor  # [labels, hidden]
    bias: Tensor  # [labels]


def write_fused(out: Path, parts: Sequence[Part], head: Affine | None) -> int:
    """Write one plain LoRA that is the sum of all, and the head in it; return its rank.

    Raises ModelError where an adapter is no plain LoRA.
    """
    read = [(part, *_plain_lora(part)) for part in parts]
    ranks = [_rank(tensors) for _, _, tensors in read]
    layers = dict.fromkeys(layer for _, _, tensors in read for layer in _layers(tensors))
    fused: dict[str, Tensor] = {}
    for layer, inner in layers:
        some = next(
            _pair(tensors, layer, inner) for *_, tensors in read if layer + inner in tensors
        )
        firsts, seconds = [], []
        for (part, config, tensors), rank in zip(read, ranks, strict=True):
            if layer + inner in tensors:
                first, second = _pair(tensors, layer, inner)
                scale = part.gates.get(layer.removeprefix(PREFIX), _scale(config) * part.weight)
                second = second * scale
            else:  # this adapter leaves the layer as it is
                first = torch.zeros(rank, some[0].shape[1])
                second = torch.zeros(some[1].shape[0], rank)
            firsts.append(first)
            seconds.append(second)
        fused[layer + inner] = torch.cat(firsts)
        fused[layer + _OUTER[inner]] = torch.cat(seconds, dim=1)
    if head is not None:
        fused[f"{PREFIX}{SCORE}.weight"] = head.weight
        if head.bias.any():
            fused[f"{PREFIX}{SCORE}.bias"] = head.bias
    out.mkdir(parents=True)
    save_file(
        {name: tensor.float().contiguous() for name, tensor in sorted(fused.items())},
        out / WEIGHTS,
        metadata={"format": "pt"},
    )
    config = json.loads((parts[-1].path / CONFIG).read_text())
    config |= {
        "r": sum(ranks),
        "lora_alpha": sum(ranks),  # the scales are in B
        "use_rslora": False,
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "target_modules": sorted(layer.removeprefix(PREFIX) for layer, _ in layers),
        "exclude_modules": None,
    }
    if head is not None:
        config |= {"modules_to_save": [SCORE], "task_type": "SEQ_CLS", "auto_mapping": None}
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return sum(ranks)


def _plain_lora(part: Part) -> tuple[Any, dict[str, Tensor]]:
    if not (part.path / CONFIG).is_file():
        raise _not_plain(part)
    config, tensors = read_adapter(part.path)
    plain = config.peft_type == "LORA" and not any(
        getattr(config, name, None) for name in _BEYOND_PLAIN
    )
    odd = [name for name in tensors if not name.endswith((*_INNER, *_OUTER.values()))]
    if not plain or odd:
        raise _not_plain(part)
    return config, tensors


def _not_plain(part: Part) -> ModelError:
    return ModelError(
        f"the adapter '{part.name}' is no plain LoRA, and only these add up to one; take merged/, "
        "or train it with kind: lora"
    )


def _layers(tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Each layer that an adapter changes, and how the name of its A ends.

    The output layer is none of them: a classifier has another.
    """
    ends = [(name.removesuffix(inner), inner) for name in sorted(tensors) for inner in _INNER]
    return [
        (layer, inner)
        for layer, inner in ends
        if layer + inner in tensors and layer.rpartition(".")[2] not in OUTPUT_LAYERS
    ]


def _pair(tensors: Mapping[str, Tensor], layer: str, inner: str) -> tuple[Tensor, Tensor]:
    """A [rank, in] and B [out, rank] of a layer."""
    return tensors[layer + inner].float(), tensors[layer + _OUTER[inner]].float()


def _rank(tensors: Mapping[str, Tensor]) -> int:
    return max(len(tensors[layer + inner]) for layer, inner in _layers(tensors))


def _scale(config: Any) -> float:
    scale: float = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    return scale
