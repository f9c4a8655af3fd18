"""Put adapters on a base: new ones, by their method, and saved ones, whatever their method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from peft import (
    PeftConfig,
    PeftModel,
    get_peft_config,
    get_peft_model,
    get_peft_model_state_dict,
)
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.errors import ConfigError, ModelError
from tasks.model.adapters.files import PREFIX, read_adapter
from tasks.model.adapters.methods import (
    AdapterMethod,
    AdaptionPrompt,
    Ia3,
    Pissa,
    Prefix,
    Prompt,
    PTuning,
    targets_of,
)
from tasks.model.adapters.pissa import start_from_the_weights
from tasks.model.adapters.summed import add_weights
from tasks.model.adapters.whole import Whole
from tasks.model.bases.causal import output_layer
from tasks.model.bases.config import Group
from tasks.model.bases.files import check_names
from tasks.model.bases.groups import endings, group_of, layers_of
from tasks.model.bases.layers import CUT, layers_that_learn

# whose kernels read these layers' weights themselves; PEFT 0.21 refuses adapters there
_MAMBAS = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
_BYPASSED = ["conv1d", "out_proj"]


def add_new_adapter(
    model: PreTrainedModel | PeftModel,
    method: AdapterMethod,
    name: str,
    key: str = "adapter.targets",
    freeze_below: int = 0,
) -> PeftModel:
    """Put a new adapter on a model; one that is an update changes nothing until it is trained.

    Args:
        key: the configuration key of the target layers, for errors.
        freeze_below: so many of the lower transformer layers, and the embedding, get none.

    Raises ConfigError where the targets do not fit the model.
    """
    base = language_model(model)
    parts = _on_the_base(base, method, key)
    if freeze_below:
        parts = _above(base, freeze_below, parts, key)
    config = get_peft_config({**method.peft(), **parts})
    try:
        peft = _with_adapter(model, config, name)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{key}: PEFT adapts none of these layers of a {type(base).__name__}, or not all of "
            f"them ({type(error).__name__}); name linear layers or embeddings of the base"
        ) from error
    if isinstance(method, Pissa):
        start_from_the_weights(peft, name, method.iterations, key)
    return peft


def _on_the_base(base: PreTrainedModel, method: AdapterMethod, key: str) -> dict[str, Any]:
    """What else PEFT must know of a method: which parts of this base it is put on."""
    match method:
        case Prefix() | Prompt() | PTuning():
            # PEFT puts virtual tokens before a text only where it knows the task
            causal = base.get_output_embeddings() is not None  # type: ignore[no-untyped-call]
            return {"task_type": "CAUSAL_LM" if causal else "FEATURE_EXTRACTION"}
        case AdaptionPrompt():
            blocks = base.config.num_hidden_layers
            return {"adapter_layers": min(method.layers or blocks, blocks)}
        case Ia3(targets=None):
            return {}
    # the task type stays unset: PEFT's sequence classification wrapper claims a head of its own
    targets = targets_of(method)
    if targets == "all-linear" and not isinstance(method, Ia3):
        bypassed = {"exclude_modules": _BYPASSED} if base.config.model_type in _MAMBAS else {}
        return {"target_modules": targets, **bypassed}
    assert targets is not None
    linear = [name for name, part in base.named_modules() if isinstance(part, nn.Linear | Conv1D)]
    if isinstance(targets, str):
        groups: Sequence[Group] = ("attention", "ffn") if targets == "all-linear" else (targets,)
        names = [end for group in groups for end in endings(layers_of(group, linear, key), linear)]
    else:
        names = list(targets)
        check_names(names, _layers(base), key)
    if isinstance(method, Ia3):
        return {"target_modules": names, "feedforward_modules": _in_feedforward(names, linear)}
    return {"target_modules": names}


def _above(base: PreTrainedModel, below: int, parts: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The parts of a method without those in the lower layers."""
    stack, layers = layers_that_learn(base, below)
    targets, out = parts["target_modules"], parts.get("exclude_modules", ())
    linear = [name for name, part in base.named_modules() if isinstance(part, nn.Linear | Conv1D)]
    candidates = linear if isinstance(targets, str) else sorted(_layers(base))
    ends = ("",) if isinstance(targets, str) else tuple(f".{target}" for target in targets)
    within = tuple(f"{stack}.{index}." for index in layers)
    names = [
        name
        for name in candidates
        if name.startswith(within)
        and f".{name}".endswith(ends)
        and not f".{name}".endswith(tuple(f".{each}" for each in out))
    ]
    if not names:
        raise ConfigError(
            f"{key}: none of these layers lies above the {below} of finetune.freeze_below; lower "
            "that, or name others"
        )
    others = {name: part for name, part in parts.items() if name != "exclude_modules"}
    if "feedforward_modules" in parts:
        others["feedforward_modules"] = _in_feedforward(names, linear)
    return others | {"target_modules": names}


def _in_feedforward(targets: Sequence[str], linear: Sequence[str]) -> list[str]:
    """Those of the targets that are layers of feedforward blocks."""
    return [
        target
        for target in targets
        if any(group_of(name) == "ffn" for name in linear if f".{name}".endswith(f".{target}"))
    ]


def add_saved_adapter(
    model: PreTrainedModel | PeftModel, path: Path, name: str, *, trained: bool = False
) -> PeftModel:
    """Put the adapter of a PEFT directory on a model, alone or beside others.

    What it has on an output layer that the model lacks is left out. One that is not trained is a
    fixed part of the model: no dropout. Raises ModelError where the directory holds no adapter or
    one that does not fit the model.
    """
    config, tensors = read_adapter(path)
    virtual = config.is_prompt_learning
    config.task_type = config.task_type if virtual else None
    config.inference_mode = virtual  # of virtual tokens, what made them was not saved
    config.base_model_name_or_path = None  # PEFT would warn that the path is another
    base = language_model(model)
    tensors = _of_layers_that_are_there(tensors, base)
    if isinstance(base.get_output_embeddings(), nn.Identity):  # type: ignore[no-untyped-call]
        head = output_layer(base)
        if hasattr(config, "exclude_modules"):  # VeRA, for one, knows none
            config.exclude_modules = sorted({*(config.exclude_modules or ()), head})
        on_head = f"{PREFIX}{head}."
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(on_head)}
    if not trained:
        for field in fields(config):
            if field.name.endswith("dropout"):
                setattr(config, field.name, 0.0)
    try:
        peft = _with_adapter(model, config, name)
    except ValueError as error:
        raise ModelError(
            f"{path}: the adapter's target layers are not in the base model, or PEFT cannot put "
            f"its method beside the others ({type(error).__name__}); use the base that it was "
            "trained on"
        ) from None
    _load_strictly(peft, tensors, name, path)
    return peft


def _of_layers_that_are_there(
    tensors: Mapping[str, Tensor], base: PreTrainedModel
) -> dict[str, Tensor]:
    """Without those on layers above the one at which the base was cut."""
    gone = {
        f"{PREFIX}{name}.{index}."
        for name, module in base.named_modules()
        if (first := getattr(module, CUT, None)) is not None
        for index in range(len(module), first)
    }
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not any(name.startswith(prefix) for prefix in gone)
    }


def language_model(model: nn.Module) -> PreTrainedModel:
    """The model itself, or what its adapters are on."""
    bare = model.get_base_model() if isinstance(model, PeftModel | Whole) else model
    assert isinstance(bare, PreTrainedModel)
    return bare


def _with_adapter(model: PreTrainedModel | PeftModel, config: PeftConfig, name: str) -> PeftModel:
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        peft = model
    else:
        made = get_peft_model(model, config, adapter_name=name)
        assert isinstance(made, PeftModel)
        peft = made
    for part in ("vera_A", "vera_B"):  # no parameters, which alone an engine casts
        shared: Any = getattr(peft.base_model, part, {})
        if name in shared:
            shared[name] = shared[name].to(language_model(peft).dtype)
    add_weights(peft)
    return peft


def _load_strictly(peft: PeftModel, tensors: Mapping[str, Tensor], name: str, path: Path) -> None:
    """Load the tensors; PEFT itself only warns where a name fits nothing."""
    wanted = get_peft_model_state_dict(peft, adapter_name=name, save_embedding_layers=False)
    unfit = sorted(set(tensors) ^ set(wanted)) or [
        key for key, tensor in tensors.items() if tensor.shape != wanted[key].shape
    ]
    if unfit:
        raise ModelError(
            f"{path}: {len(unfit)} of the adapter's tensors do not fit the base model, e.g. "
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
