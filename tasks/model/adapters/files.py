"""Adapters on disk: plain PEFT directories, read strictly and written stably."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.model.adapters.methods import UNNAMED, BaseName
from tasks.model.adapters.pissa import as_lora, is_pissa

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."  # of every tensor's name; the language model's own names follow


def read_adapter(path: Path) -> tuple[PeftConfig, dict[str, Tensor]]:
    """Read an adapter from its PEFT directory. Raises ModelError where it is none."""
    try:
        return PeftConfig.from_pretrained(str(path)), load_file(path / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{path} is not a readable PEFT adapter ({type(error).__name__}); "
            f"it needs {CONFIG} and {WEIGHTS}"
        ) from None


def write_adapter(
    path: Path,
    model: PeftModel,
    name: str,
    state: Mapping[str, Tensor] | None = None,
    base: BaseName = UNNAMED,
) -> None:
    """Write an adapter as a plain PEFT directory whose bytes depend on its values alone.

    Args:
        state: the model's parameters by name, where they are not in the model itself (ZeRO-3
            keeps them in parts); default: those of the model.

    Raises ModelError where a tensor is empty or not finite.
    """
    tensors, config = _published(model, name, None if state is None else dict(state))
    _check_tensors(path, tensors)
    path.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: tensor.detach().float().cpu().contiguous() for key, tensor in tensors.items()},
        path / WEIGHTS,
        metadata={"format": "pt"},
    )
    described = config.to_dict()
    language = model.get_base_model()
    assert isinstance(language, PreTrainedModel)
    described |= {
        "inference_mode": True,
        "base_model_name_or_path": base.name,
        "revision": base.revision,
        "auto_mapping": {  # as PEFT itself names a base without a task type
            "base_model_class": type(language).__name__,
            "parent_library": type(language).__module__,
            # where true, untie before merging what sits on the embedding or the output layer
            "tie_word_embeddings": bool(language.config.tie_word_embeddings),
        },
    }
    ordered = {key: _ordered(value) for key, value in sorted(described.items())}
    (path / CONFIG).write_text(json.dumps(ordered, indent=2) + "\n")


def _published(
    model: PeftModel, name: str, state: dict[str, Tensor] | None
) -> tuple[dict[str, Tensor], PeftConfig]:
    """The adapter's tensors by the names that PEFT gives them on disk, and its configuration."""
    config = model.peft_config[name]
    if config.is_prompt_learning and state is not None:
        return {"prompt_embeddings": _virtual_tokens(model, name, state)}, config
    if state is not None:  # VeRA's matrices are no parameters
        state |= dict(model.named_buffers(remove_duplicate=False))
    tensors = get_peft_model_state_dict(
        model,
        state,
        adapter_name=name,
        save_embedding_layers=False,  # only the update, also where it is on the embedding
    )
    return as_lora(model, name, tensors) if is_pissa(model, name) else (tensors, config)


@torch.no_grad()
def _virtual_tokens(model: PeftModel, name: str, state: Mapping[str, Tensor]) -> Tensor:
    """What stands before a text [tokens, width], made by the network that was trained for it."""
    config, prefix = model.peft_config[name], f"prompt_encoder.{name}."
    trained = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
    if config.peft_type == PeftType.PROMPT_TUNING:
        return trained["embedding.weight"]
    encoder = type(model.prompt_encoder[name])(config)
    encoder.load_state_dict(trained)
    tokens: Tensor = encoder.eval()(model.prompt_tokens[name][None])[0]
    return tokens


def _check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    empty = [key for key, tensor in tensors.items() if not tensor.numel()]
    if empty or not tensors:
        raise ModelError(
            f"the adapter for {path.name} has {len(empty)} empty tensors of {len(tensors)}; "
            "its parameters were not gathered from the ranks"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ModelError(
            f"the adapter for {path.name} holds NaN or infinite values; lower the learning rate"
        )


def _ordered(value: object) -> object:
    """Sets in a fixed order: PEFT keeps target names in one, and its order differs by process."""
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
