"""What each method can do and where, as a table; and what is refused for it before a run starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import ConfigError
from tasks.model.adapters.methods import AnyMethod, Full
from tasks.training.config import TrainingConfig, read_deepspeed

ZERO3 = 3  # the stage of DeepSpeed in which ranks hold a part of each parameter


@dataclass(frozen=True)
class Allows:
    """What a method can do."""

    learning_rate: float  # peak, where the configuration gives none
    family: str | None  # of updates that can be added to one another; None: it is no such update
    weighted: bool  # whether its update may be added half, say
    packing: bool  # whether a row may hold several documents
    encoders: bool  # whether encoders can have it
    checkpointing: bool  # whether activations may be computed twice rather than kept
    zero3: bool  # whether ranks may hold a part of each parameter
    bits: tuple[int, ...]  # of a weight, to which the base may be quantized
    beside: bool = False  # whether, learned for a task, it may stand beside summands of any family


# Rates: LoRA's is the base paper's, that of `full` its code's for full training; the others are of
# the papers of the methods (IA3: T-Few; VeRA, DoRA, LLaMA-Adapter: for LLaMA-7B), or, for prompts,
# of PEFT's examples; that of insert_blocks is ours. LoRA's rate starves IA3 and prompts.
ALLOWS = {
    #                         rate  family     weighted packing encoders checkpointing zero3 bits
    "lora": Allows(3e-4, "lora", True, True, True, True, True, (4, 8)),
    "dora": Allows(2e-4, "lora", True, True, True, True, False, (4,)),
    "pissa": Allows(1e-4, "lora", True, True, True, True, False, ()),
    "adalora": Allows(1e-3, "adalora", True, True, True, True, False, (4, 8)),
    "ia3": Allows(3e-3, "ia3", False, True, True, True, True, (4, 8)),
    "vera": Allows(4e-3, "vera", False, True, True, True, True, (4, 8)),
    "prefix": Allows(1e-2, None, False, False, True, False, True, (4, 8)),
    "prompt": Allows(3e-2, None, False, False, True, True, False, (4, 8)),
    "p_tuning": Allows(1e-3, None, False, False, True, True, False, (4, 8)),
    "adaption_prompt": Allows(9e-3, None, False, True, False, True, True, (4, 8)),
    "insert_blocks": Allows(1e-4, None, False, True, False, True, False, ()),
    "full": Allows(3e-5, None, False, True, True, True, True, (), True),
}
# what is learned for tasks alone; bitfit's rate is the highest that its paper tried, that of the
# bottlenecks in the middle of Houlsby's
OF_TASKS = {
    "bitfit": Allows(1e-3, None, False, True, True, True, False, (), True),
    "bottleneck": Allows(3e-4, None, False, True, True, True, False, (), True),
}


def allows(method: AnyMethod) -> Allows:
    """What the method can do."""
    return (ALLOWS | OF_TASKS)[method.kind]


def check_method(
    method: AnyMethod, training: TrainingConfig, *, causal: bool, key: str = "pretrain"
) -> None:
    """Raise ConfigError where a method cannot be trained so.

    Args:
        causal: whether the base is a causal language model, or an encoder.
        key: where the two stand in the configuration.
    """
    can, kind = allows(method), method.kind
    others = ", ".join(name for name, other in ALLOWS.items() if other.encoders)
    if not causal and not can.encoders:
        raise ConfigError(f"{key}.adapter is {kind}, which is for no encoder; take one of {others}")
    if training.gradient_checkpointing and not can.checkpointing:
        raise ConfigError(
            f"{key}.adapter is {kind}, whose keys and values are lost where activations are "
            f"computed twice; set {key}.training.gradient_checkpointing to false"
        )
    if not can.zero3 and _stage(training, f"{key}.training") == ZERO3:
        raise ConfigError(
            f"{key}.adapter is {kind}, which needs whole parameters, and {training.deepspeed} is "
            f"ZeRO-3, which parts them; set {key}.training.deepspeed to "
            "configs/deepspeed/zero2.json"
        )


def check_task_method(method: AnyMethod, training: TrainingConfig, *, causal: bool) -> None:
    """Raise ConfigError where a method cannot be trained so for a task; as `check_method`."""
    check_method(method, training, causal=causal, key="finetune")
    if isinstance(method, Full) and _stage(training, "finetune.training") == ZERO3:
        raise ConfigError(
            "finetune.adapter is full, whose weights are read back whole, and "
            f"{training.deepspeed} is ZeRO-3, which parts them; set finetune.training.deepspeed to "
            "configs/deepspeed/zero2.json, or finetune.adapter to lora"
        )


def check_freezing(training: TrainingConfig) -> None:
    """Raise ConfigError where a training that keeps matrices still cannot do so."""
    if _stage(training, "finetune.training") == ZERO3:
        raise ConfigError(
            f"finetune.training.freezing looks at whole matrices, and {training.deepspeed} is "
            "ZeRO-3, which parts them; set finetune.training.deepspeed to "
            "configs/deepspeed/zero2.json, or leave freezing out"
        )


def check_quantized(
    bits: int, methods: Mapping[str, AnyMethod], trainings: Mapping[str, TrainingConfig]
) -> None:
    """Raise ConfigError where adapters cannot be trained so on a quantized base.

    Args:
        bits: of a weight of the base.
        methods: those of the adapters, by their keys; trainings: likewise.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "pretrain.base.quantization needs the package bitsandbytes; pip install "
            "'clinfuse[quantized]', or leave the key out"
        )
    others = ", ".join(name for name, other in ALLOWS.items() if bits in other.bits)
    for key, method in methods.items():
        if bits not in allows(method).bits:
            raise ConfigError(
                f"{key} is {method.kind}, which learns on no base of {bits} bits; leave out "
                f"pretrain.base.quantization, or take one of {others}"
            )
    for key, training in trainings.items():
        if _stage(training, key) == ZERO3:
            raise ConfigError(
                f"{key}.deepspeed is ZeRO-3, which cannot part quantized weights; set it to "
                "configs/deepspeed/zero2.json, or leave out pretrain.base.quantization"
            )


def check_whole(training: TrainingConfig, key: str) -> None:
    """Raise ConfigError where updates cannot be added into weights, which ranks hold in parts."""
    if _stage(training, key) == ZERO3:
        raise ConfigError(
            f"a summand is merged into the base's weights, and {key}.deepspeed is ZeRO-3, which "
            "parts them; set it to configs/deepspeed/zero2.json, or fusion: frozen"
        )


def _stage(training: TrainingConfig, key: str) -> int | None:
    """The stage of ZeRO that a file asks for; None: there is none."""
    if training.deepspeed is None:
        return None
    zero = read_deepspeed(training.deepspeed, f"{key}.deepspeed").get("zero_optimization", {})
    stage: int | None = zero.get("stage")
    return stage
