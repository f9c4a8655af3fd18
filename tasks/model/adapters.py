"""Adapters on disk and on a model: plain PEFT directories, read strictly and written stably."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ConfigError, ModelError
from tasks.model.base import head_name
from tasks.model.lora import UNNAMED, BaseName, LoraSettings
from tasks.model.targets import check_names

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."  # of every tensor's name; the language model's own names follow
# whose kernels read these layers' weights themselves; PEFT 0.21 refuses adapters there
_MAMBAS = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
_BYPASSED = ["conv1d", "out_proj"]


def add_new_adapter(
    model: PreTrainedModel, settings: LoraSettings, name: str, key: str = "lora.targets"
) -> PeftModel:
    """Put a new LoRA adapter, B = 0, on a causal language model.

    The task type stays unset: PEFT's sequence classification wrapper claims a head of its own.
    Raises ConfigError, which names the configuration key, where the targets do not fit the model.
    """
    targets: str | list[str] = "all-linear"
    exclude = _BYPASSED if model.config.model_type in _MAMBAS else None
    if settings.targets != "all-linear":
        targets, exclude = list(settings.targets), None
        check_names(targets, _layers(model), key)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules=exclude,
        use_rslora=settings.rslora,
        bias="none",
    )
    try:
        return _with_adapter(model, config, name)
    except ValueError as error:
        raise ConfigError(
            f"{key}: PEFT adapts none of these layers of a {type(model).__name__}, or not all of "
            f"them ({type(error).__name__}); name linear layers or embeddings of the base"
        ) from error


def add_saved_adapter(
    model: PreTrainedModel | PeftModel, place: Path, name: str, dropout: float | None = None
) -> PeftModel:
    """Put the adapter of a PEFT directory on a model whose head is taken off, or beside others.

    What it has on the output layer is left out. `dropout`, where given, replaces the adapter's
    own. Raises ModelError where the directory is no LoRA adapter or does not fit the model.
    """
    config, tensors = read_adapter(place)
    config.task_type = None
    config.inference_mode = False
    config.base_model_name_or_path = None  # PEFT would warn that the path is another
    head = head_name(language_model(model))
    config.exclude_modules = sorted({*(config.exclude_modules or ()), head})
    on_head = f"{_PREFIX}{head}."
    tensors = {key: each for key, each in tensors.items() if not key.startswith(on_head)}
    if dropout is not None:
        config.lora_dropout = dropout
    try:
        peft = _with_adapter(model, config, name)
    except ValueError:
        raise ModelError(
            f"{place}: the adapter's target layers are not in the base model; "
            "use the base that it was trained on"
        ) from None
    _load_strictly(peft, tensors, name, place)
    return peft


def read_adapter(place: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Read a LoRA adapter from its PEFT directory. Raises ModelError where it is none."""
    try:
        config = PeftConfig.from_pretrained(str(place))
        tensors = load_file(place / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{place} is not a readable PEFT adapter ({type(error).__name__}); "
            f"it needs {CONFIG} and {WEIGHTS}"
        ) from None
    if not isinstance(config, LoraConfig):
        raise ModelError(f"{place} is a {config.peft_type} adapter; only LoRA can be fused")
    return config, tensors


def starts_at_zero(name: str) -> bool:
    """Whether a LoRA tensor of this name is zero at first and gets the first gradient.

    That is B of a layer, but A of an embedding.
    """
    return "lora_B" in name or "lora_embedding_A" in name


def language_model(model: nn.Module) -> PreTrainedModel:
    """The model itself, or what its adapters are on."""
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(bare, PreTrainedModel)
    return bare


def base_name_of(place: Path) -> BaseName:
    """The base of the adapter in a PEFT directory, as its config names it."""
    config, _ = read_adapter(place)
    return BaseName(name=config.base_model_name_or_path, revision=config.revision)


def write_adapter(
    place: Path,
    model: PeftModel,
    name: str,
    state: Mapping[str, Tensor] | None = None,
    base: BaseName = UNNAMED,
) -> None:
    """Write an adapter as a plain PEFT directory whose bytes depend on its values alone.

    Args:
        state: the model's parameters by name, where they are not in the model itself (ZeRO-3
            keeps them in parts); default: those of the model.

    Raises ModelError where a tensor is empty or not finite, or all of the adapter is zero.
    """
    tensors = get_peft_model_state_dict(
        model,
        dict(state) if state is not None else None,
        adapter_name=name,
        save_embedding_layers=False,  # only the update, also where it is on the embedding
    )
    _check_tensors(place, tensors)
    place.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: tensor.detach().float().cpu().contiguous() for key, tensor in tensors.items()},
        place / WEIGHTS,
        metadata={"format": "pt"},
    )
    described = model.peft_config[name].to_dict()
    causal = language_model(model)
    described |= {
        "inference_mode": True,
        "base_model_name_or_path": base.name,
        "revision": base.revision,
        "auto_mapping": {  # as PEFT itself names a base without a task type
            "base_model_class": type(causal).__name__,
            "parent_library": type(causal).__module__,
            # where true, untie before merging what sits on the embedding or the output layer
            "tie_word_embeddings": bool(causal.config.tie_word_embeddings),
        },
    }
    ordered = {key: _ordered(value) for key, value in sorted(described.items())}
    (place / CONFIG).write_text(json.dumps(ordered, indent=2) + "\n")


def _with_adapter(model: PreTrainedModel | PeftModel, config: LoraConfig, name: str) -> PeftModel:
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    peft = get_peft_model(model, config, adapter_name=name)
    assert isinstance(peft, PeftModel)
    return peft


def _load_strictly(peft: PeftModel, tensors: Mapping[str, Tensor], name: str, place: Path) -> None:
    """Load the tensors; PEFT itself only warns where a name fits nothing."""
    wanted = get_peft_model_state_dict(peft, adapter_name=name, save_embedding_layers=False)
    unfit = sorted(set(tensors) ^ set(wanted)) or [
        key for key, tensor in tensors.items() if tensor.shape != wanted[key].shape
    ]
    if unfit:
        raise ModelError(
            f"{place}: {len(unfit)} of the adapter's tensors do not fit the base model, e.g. "
            f"{unfit[0]}; use the base that it was trained on"
        )
    set_peft_model_state_dict(peft, dict(tensors), adapter_name=name)


def _layers(model: nn.Module) -> set[str]:
    """The names of the layers that have weights of their own."""
    return {
        name
        for name, module in model.named_modules()
        if any(True for _ in (*module.parameters(False), *module.buffers(False)))
    }


def _check_tensors(place: Path, tensors: Mapping[str, Tensor]) -> None:
    empty = [key for key, tensor in tensors.items() if not tensor.numel()]
    if empty or not tensors:
        raise ModelError(
            f"the adapter for {place.name} has {len(empty)} empty tensors of {len(tensors)}; "
            "its parameters were not gathered from the ranks"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ModelError(
            f"the adapter for {place.name} holds NaN or infinite values; lower the learning rate"
        )
    if not any(bool(tensor.any()) for key, tensor in tensors.items() if starts_at_zero(key)):
        raise ModelError(f"the adapter for {place.name} is all zero: it was not trained")


def _ordered(value: object) -> object:
    """Sets in a fixed order: PEFT keeps target names in one, and its order differs by process."""
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
