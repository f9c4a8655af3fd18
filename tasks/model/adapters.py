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

from tasks.errors import ModelError
from tasks.model.lora import LoraSettings

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def add_new_adapter(model: nn.Module, settings: LoraSettings, name: str) -> PeftModel:
    """Put a new LoRA adapter, B = 0, on a plain model or beside the adapters that it has.

    The task type stays unset: PEFT's sequence classification wrapper claims a head of its own.
    """
    targets = settings.targets if settings.targets == "all-linear" else list(settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=targets,
        use_rslora=settings.rslora,
        bias="none",
    )
    return _with_adapter(model, config, name)


def add_saved_adapter(
    model: nn.Module, place: Path, name: str, dropout: float | None = None
) -> PeftModel:
    """Put the adapter of a PEFT directory on a model without a language-model head.

    Works for an adapter that was trained on the same base with a language-model head, whose
    tensor names hold one more "model.". `dropout`, where given, replaces the adapter's own.
    Raises ModelError where the directory is no LoRA adapter or does not fit the model.
    """
    config, tensors = read_adapter(place)
    config.task_type = None
    config.inference_mode = False
    if isinstance(config.target_modules, set):  # "model.layers.0..." is "layers.0..." here
        bare = {target.removeprefix("model.") for target in config.target_modules}
        config.target_modules = bare - {"lm_head"}
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


def write_adapter(
    place: Path, model: PeftModel, name: str, state: Mapping[str, Tensor] | None = None
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
    described |= {"inference_mode": True, "base_model_name_or_path": None}
    ordered = {key: _ordered(value) for key, value in sorted(described.items())}
    (place / CONFIG).write_text(json.dumps(ordered, indent=2) + "\n")


def _with_adapter(model: nn.Module, config: LoraConfig, name: str) -> PeftModel:
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    assert isinstance(model, PreTrainedModel)
    peft = get_peft_model(model, config, adapter_name=name)
    assert isinstance(peft, PeftModel)
    return peft


def _load_strictly(peft: PeftModel, tensors: Mapping[str, Tensor], name: str, place: Path) -> None:
    """Load the tensors; PEFT itself only warns where a name fits nothing."""
    wanted = get_peft_model_state_dict(peft, adapter_name=name, save_embedding_layers=False)
    found = {}
    for key, tensor in tensors.items():
        if ".lm_head." in key:
            continue  # the output layer is not part of a classifier
        bare = key.replace("base_model.model.model.", "base_model.model.", 1)
        found[key if key in wanted else bare] = tensor
    unfit = sorted(set(found) ^ set(wanted)) or [
        key for key, tensor in found.items() if tensor.shape != wanted[key].shape
    ]
    if unfit:
        raise ModelError(
            f"{place}: {len(unfit)} of the adapter's tensors do not fit the base model, e.g. "
            f"{unfit[0]}; use the base that it was trained on"
        )
    set_peft_model_state_dict(peft, found, adapter_name=name)


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
    if not any(bool(tensor.any()) for key, tensor in tensors.items() if "lora_B" in key):
        raise ModelError(f"the adapter for {place.name} is all zero: it was not trained")


def _ordered(value: object) -> object:
    """Sets in a fixed order: PEFT keeps target names in one, and its order differs by process."""
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
