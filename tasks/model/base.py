"""The base language model: a new small LLaMA, or one from a directory, with or without head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tasks.collectives import join_deepspeed
from tasks.errors import ConfigError, ModelError


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
    folder: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load a causal language model from a Hugging Face directory, frozen, its cache off.

    Args:
        deepspeed: the engine's configuration; under ZeRO-3 each rank then loads its share only.

    Raises ModelError where the directory holds no such model, or not all of its weights.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is not a model directory (no config.json); set pretrain.base to a Hugging "
            "Face directory, or to kind: scratch"
        )
    try:
        with _sharded_by(deepspeed):
            loader: Any = AutoModelForCausalLM
            model, told = loader.from_pretrained(
                str(folder), dtype=dtype, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded as a causal language model "
            f"({type(error).__name__}); it needs *.safetensors weights of an architecture of which "
            "transformers has one"
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise ModelError(
            f"{folder} lacks {len(missing)} weights of a {type(model).__name__}, e.g. "
            f"{missing[0]}, which would be random; save the whole language model there"
        )
    # With the default cache, a packed document would attend to the one before it: its logits
    # differed by 3.23 from those alone (1e-6 without)
    model.config.use_cache = False
    model.requires_grad_(False)
    assert isinstance(model, PreTrainedModel)
    return model


def load_headless(
    folder: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load the same model without its output layer; otherwise as load_causal.

    It stays a causal language model, so that its layers have the names that they had in
    pretraining, whatever the architecture calls its parts.
    """
    return take_head_off(load_causal(folder, dtype, deepspeed))


def take_head_off(model: PreTrainedModel) -> PreTrainedModel:
    """Put nothing where the model's output layer is, in place; return the model."""
    model.set_submodule(head_name(model), nn.Identity())
    return model


def head_name(model: PreTrainedModel) -> str:
    """The name of the output layer, or of what is in its place. ModelError: there is none."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    for name, module in model.named_modules():
        if head is not None and module is head:
            return name
    raise ModelError(f"a {type(model).__name__} has no output layer; take another base")


def trunk(model: PreTrainedModel) -> nn.Module:
    """What lies before the output layer: the part that holds the input embeddings.

    Called with input_ids, it gives `last_hidden_state`. ModelError: the model has no such part.
    """
    embeddings = model.get_input_embeddings()
    for part in model.children():
        if any(module is embeddings for module in part.modules()):
            return part
    raise ModelError(
        f"a {type(model).__name__} has no part that gives token states; take another base"
    )


def check_positions(model: PreTrainedModel, longest: int) -> None:
    """Raise ConfigError where a text of so many tokens has more than there are positions.

    Rotary positions go on beyond those that the model was trained on, learned ones end.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    rotary = getattr(model.config, "rope_parameters", None)
    if positions is not None and longest > positions and not rotary:
        raise ConfigError(
            f"a note has {longest} tokens, but the base has positions for {positions} only; "
            "lower finetune.max_tokens"
        )


@torch.no_grad()
def states_width(model: PreTrainedModel) -> int:
    """How wide the token states are, which is not config.hidden_size in every architecture."""
    one = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    width: int = trunk(model)(input_ids=one, use_cache=False).last_hidden_state.shape[-1]
    return width


def untie(model: PreTrainedModel) -> PreTrainedModel:
    """Give the output layer weights of its own, in place, equal to those that it shared.

    An adapter on a layer whose weights are shared cannot be merged into them: it would change the
    other layer, too.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
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
