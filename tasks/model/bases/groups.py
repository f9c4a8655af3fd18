"""The linear layers of attention and of feedforward blocks, by the names that they have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from tasks.errors import ConfigError
from tasks.model.bases.config import Group

_BLOCK = re.compile(r"(^|\.)\d+\.")  # of the many that a model consists of
_ATTENTION = re.compile(r"attn|attention")
_NEITHER = re.compile(r"(^|\.)(mixer|mamba|ssm)(\.|$)")  # what stands for both of them in Mamba


def layers_of(group: Group, layers: Iterable[str], key: str) -> list[str]:
    """The layers of a group among the linear layers of a model.

    LLaMA's and BERT's names are alike in what counts here:

    >>> llama = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"]
    >>> layers_of("attention", llama, "adapter.targets")
    ['model.layers.0.self_attn.q_proj']
    >>> bert = ["encoder.layer.0.attention.output.dense", "encoder.layer.0.output.dense",
    ...         "embeddings.word_embeddings", "pooler.dense"]
    >>> layers_of("ffn", bert, "adapter.targets")
    ['encoder.layer.0.output.dense']

    Raises ConfigError where the model has none.
    """
    chosen = [name for name in layers if group_of(name) == group]
    if not chosen:
        raise ConfigError(
            f"{key} is {group}, but no layer's name says that it is of that; name the layers, e.g. "
            "[q_proj, v_proj]"
        )
    return chosen


def group_of(name: str) -> Group | None:
    """The group of a linear layer; None: it is of neither."""
    if not _BLOCK.search(name):
        return None
    if _ATTENTION.search(name):
        return "attention"
    return None if _NEITHER.search(name) else "ffn"


def endings(chosen: Collection[str], layers: Collection[str]) -> list[str]:
    """The shortest ends of names that tell the chosen layers from all others.

    >>> endings(["0.attn.q", "1.attn.q"], ["0.attn.q", "1.attn.q", "0.mlp.up"])
    ['q']
    >>> endings(["0.output.dense"], ["0.output.dense", "0.attention.output.dense"])
    ['0.output.dense']
    """
    others = [name for name in layers if name not in set(chosen)]
    shortest = set()
    for name in chosen:
        parts = name.split(".")
        ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        shortest.add(
            next(end for end in ends if not any(f".{o}".endswith(f".{end}") for o in others))
        )
    return sorted(shortest)
