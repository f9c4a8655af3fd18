"""Whose parameter a tensor is, and which adapters take part, as PEFT's layers say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from peft import PeftModel
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.adaption_prompt import AdaptionPromptModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from tasks.errors import ModelError


def parameters_of(model: nn.Module) -> dict[str, list[str]]:
    """The names of every adapter's parameters, as `model.named_parameters` has them, by adapter.

    >>> from peft import LoraConfig, inject_adapter_in_model
    >>> method = LoraConfig(target_modules=["0"])
    >>> parameters_of(inject_adapter_in_model(method, nn.Sequential(nn.Linear(2, 2))))
    {'default': ['0.lora_A.default.weight', '0.lora_B.default.weight']}
    """
    names: dict[str, list[str]] = {}
    for path, module in model.named_modules():
        if isinstance(module, AdaptionPromptModel):
            names[module.active_adapters[0]] = [
                f"{path}.{name}" for name, _ in module.named_parameters() if ".adaption_" in name
            ]
        for adapter, encoder in getattr(module, "prompt_encoder", {}).items():
            prefix = ".".join(filter(None, (path, "prompt_encoder", adapter)))
            names[adapter] = [f"{prefix}.{name}" for name, _ in encoder.named_parameters()]
        if not isinstance(module, BaseTunerLayer):
            continue
        for attribute in dict.fromkeys(module.adapter_layer_names):  # DoRA's vector is in it twice
            for adapter, part in getattr(module, attribute, {}).items():
                prefix = ".".join(filter(None, (path, attribute, adapter)))
                inner = dict(part.named_parameters()) if isinstance(part, nn.Module) else {"": part}
                names.setdefault(adapter, []).extend(
                    f"{prefix}.{name}".rstrip(".") for name in inner
                )
    return names


def names_in(model: nn.Module, parameters: Iterable[nn.Parameter]) -> list[str]:
    """What a model calls these parameters of it."""
    ours = {id(parameter) for parameter in parameters}
    return [name for name, parameter in model.named_parameters() if id(parameter) in ours]


def trained_tensors(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The trained values of parameters of a model, by the names given here, on the CPU.

    Args:
        state: the trained parameters, as the model calls them.

    Raises ModelError where one is not finite.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {
        name: state[names[id(parameter)]].detach().cpu().contiguous()
        for name, parameter in sorted(parameters.items())
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ModelError("what was trained holds NaN or infinite values; lower the learning rate")
    return tensors


def activate(model: PeftModel, adapters: Sequence[str], trained: Collection[str] = ()) -> None:
    """Let these adapters, and no other, take part in the forward pass; train some of them.

    Every other parameter of the model is frozen. Raises ModelError where PEFT did otherwise.
    """
    if isinstance(model.base_model, BaseTuner):
        # PeftModel.set_adapter takes one name only, that of its tuner several
        model.base_model.set_adapter(list(adapters))
    names = parameters_of(model)
    learning = {name for adapter in trained for name in names[adapter]}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    active = list(model.active_adapters)
    if active != list(adapters) or not all(names.get(adapter) for adapter in adapters):
        raise ModelError(
            f"the adapters {', '.join(adapters)} should be active, but PEFT has {active}; "
            "use the pinned version"
        )


def weigh(model: PeftModel, adapter: str, weight: float) -> None:
    """Let the adapter's update be added `weight` times.

    Raises ModelError where its method has no scale, and the weight is not 1.
    """
    if weight == 1:
        return
    scales: list[dict[str, float]] = [
        getattr(module, "scaling", {})
        for module in model.modules()
        if isinstance(module, BaseTunerLayer)
    ]
    with_it = [scaling for scaling in scales if adapter in scaling]
    if not with_it:
        raise ModelError(f"the adapter '{adapter}' has no scale; set its weight to 1")
    for scaling in with_it:
        scaling[adapter] *= weight


def scale_of(model: nn.Module, adapter: str) -> float | None:
    """What the adapter's update is multiplied by in effect; None: its method has no scale."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and adapter in getattr(module, "scaling", {}):
            scale: float = module.scaling[adapter]  # type: ignore[index, assignment]
            if isinstance(module, AdaLoraLayer):
                scale /= module.ranknum[adapter].item()
            return scale
    return None


@contextmanager
def without(model: PeftModel, *adapters: str) -> Iterator[None]:
    """Within it these adapters take no part; nothing is trained, within it and after it."""
    before = list(model.base_model.active_adapters)  # type: ignore[arg-type]
    others = [name for name in before if name not in adapters]
    if others:
        activate(model, others)
    try:
        with nullcontext() if others else model.disable_adapter():
            yield
    finally:
        activate(model, before)
