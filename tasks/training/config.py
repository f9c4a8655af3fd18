"""How a model is trained, whatever it is trained on; no torch, so that flows can read it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.config import Config
from tasks.errors import ConfigError


class TrainingConfig(Config):
    """Optimizer, schedule, checkpoints and the DeepSpeed engine of one training program."""

    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW"""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to zero after the warmup"""
    warmup_share: float = Field(
        default=0.06, ge=0, le=1
    )  # as in the paper's configuration, whose code then warmed up for 0 steps
    """Share of all steps in which the rate rises from zero to its peak"""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay, on matrices only"""
    clip: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm over all parameters"""
    batch_size: int = Field(default=16, ge=1)
    """Sequences or admissions of an optimizer step, over all ranks together"""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """How many of them a rank computes at once; lower it when memory runs out. Empty: a rank's
    whole share"""
    seed: int = Field(default=0, ge=0)
    """Of initial weights, dropout and order"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU, fp32 on the CPU; what a frozen trunk or the ontology objective computes
    is in bf16 on a CPU, too, that is faster in it"""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them: a third slower, and long sequences of a
    large base fit"""
    checkpoint_every_steps: int = Field(default=100, ge=1)
    """A run that is killed repeats at most this many steps"""
    deepspeed: Path | None = None
    """DeepSpeed configuration (JSON), e.g. configs/deepspeed/zero3.json; empty: ZeRO-2"""

    def micro_batches(self, ranks: int) -> int:
        """How many parts a batch is cut into: enough for memory, a multiple of the ranks."""
        share = self.batch_size_of_rank(ranks)
        rounds = -(-share // self.micro_batch_size) if self.micro_batch_size else 1
        return rounds * ranks

    def batch_size_of_rank(self, ranks: int) -> int:
        """A rank's share of the batch, rounded up."""
        return -(-self.batch_size // ranks)


def without_null_rate(given: Any) -> Any:
    """A training's keys; `learning_rate: null`, which asks for its method's own, is left out."""
    if isinstance(given, dict) and given.get("learning_rate", 0) is None:
        return {key: value for key, value in given.items() if key != "learning_rate"}
    return given


class FreezingConfig(Config):
    """In each step only those matrices learn that changed most when they last did (SlimFit)."""

    share: float = Field(default=0.9, gt=0, lt=1)  # SlimFit: .75 to .95
    """Share of the matrices that are still in a step; what they need for a gradient is not kept"""
    epsilon: float = Field(default=1e-6, gt=0)
    """Added to a weight's size, by which its change is divided: LoRA's B is zero at first"""


# of a DeepSpeed configuration, what follows from ours
FOLLOWS = (
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"),
    *("gradient_clipping", "bf16", "fp16", "optimizer", "scheduler"),
)


def read_deepspeed(path: Path, key: str = "deepspeed") -> dict[str, Any]:
    """The DeepSpeed configuration that the key names, without what follows from ours.

    Raises ConfigError where it is none, or cannot be used.
    """
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{key}': {path} is not readable JSON ({type(error).__name__}); correct it"
        ) from None
    if not isinstance(given, dict):
        raise ConfigError(f"'{key}': {path} is not a DeepSpeed configuration: it holds no keys")
    for name in FOLLOWS:
        value = given.pop(name, "auto")
        if value != "auto" and not (isinstance(value, dict) and value.get("enabled") == "auto"):
            raise ConfigError(
                f"{path} sets {name}, which follows from the training configuration; "
                'remove it, or set it to "auto"'
            )
    unset = sorted(name for name, value in given.items() if value == "auto")
    if unset:
        raise ConfigError(f'{path} leaves {", ".join(unset)} at "auto"; set a value')
    zero = given.get("zero_optimization", {})
    if zero.get("offload_optimizer", {}).get("device") == "nvme":
        raise ConfigError(
            f"{path} offloads the optimizer to nvme, whose state no checkpoint would hold; set "
            'offload_optimizer.device to "cpu"'
        )
    return given
