"""The base language model: a new small LLaMA, or one from a directory, whole or as a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from tasks.collectives import join_deepspeed
from tasks.errors import ModelError


def scratch_llama(
    *,
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    max_positions: int,
    pad: int,
    bos: int,
    eos: int,
) -> LlamaForCausalLM:
    """A LLaMA with random weights, of LLaMA's proportions (Touvron et al. 2023), tied embeddings.

    Tied: with so few layers a second embedding table would be half of all parameters.
    """
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        intermediate_size=-(-hidden_size * 8 // 3 // 16) * 16,  # 8/3 of the width, rounded up
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
        initializer_range=0.02 if hidden_size >= 512 else 0.05,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def load_causal(
    place: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load a causal language model from a Hugging Face directory, frozen, its cache off.

    Args:
        deepspeed: the engine's configuration; under ZeRO-3 each rank then loads its share only.

    Raises ModelError where the directory holds no such model.
    """
    return _load(AutoModelForCausalLM, place, dtype, deepspeed)


def load_backbone(
    place: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load the same model without its language-model head; otherwise as load_causal."""
    return _load(AutoModel, place, dtype, deepspeed)


def _load(
    loader: Any, place: Path, dtype: torch.dtype, deepspeed: Mapping[str, Any] | None
) -> PreTrainedModel:
    if not (place / "config.json").is_file():
        raise ModelError(
            f"{place} is not a model directory (no config.json); set pretrain.base to a Hugging "
            "Face directory, or to kind: scratch"
        )
    try:
        with _sharded_by(deepspeed):
            model = loader.from_pretrained(str(place), dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the model in {place} cannot be loaded ({type(error).__name__}); it needs "
            "*.safetensors weights of an architecture that transformers knows"
        ) from error
    # With the default cache, a packed document would attend to the one before it: its logits
    # differed by 3.23 from those alone (1e-6 without)
    model.config.use_cache = False
    model.requires_grad_(False)
    assert isinstance(model, PreTrainedModel)
    return model


@contextmanager
def _sharded_by(deepspeed: Mapping[str, Any] | None) -> Iterator[None]:
    """Within it, from_pretrained shards parameters as they are read, if the stage is ZeRO-3."""
    if not deepspeed or deepspeed.get("zero_optimization", {}).get("stage") != 3:
        yield
        return
    from transformers.integrations import deepspeed as integration

    # before any parameter is made: unaware of the other ranks, DeepSpeed would count only one
    join_deepspeed()
    # transformers holds it by a weak reference: keep it until the weights are read
    config = integration.HfDeepSpeedConfig(dict(deepspeed))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        integration.unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        del config
