"""What the stage's training programs are told: the content of their job.json."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.config import Config
from tasks.model.lora import UNNAMED, BaseName, LoraSettings
from tasks.training.config import TrainingConfig


class BaseJob(Config):
    """Make a new model; train all of it."""

    kind: Literal["full"] = "full"
    vocabulary_size: int
    hidden_size: int
    layers: int
    heads: int
    max_positions: int
    pad: int
    bos: int
    eos: int


class AdapterJob(Config):
    """Put a new adapter on a base; train the adapter alone."""

    kind: Literal["lora"] = "lora"
    base: Path
    base_name: BaseName = UNNAMED  # for the adapter's config
    lora: LoraSettings
    gradient_checkpointing: bool


class TrainJob(Config):
    """A training of the stage."""

    arm: str
    method: Annotated[BaseJob | AdapterJob, Field(discriminator="kind")]
    corpus: Path  # the artifact's folder
    epochs: float
    max_tokens: int | None
    training: TrainingConfig
    out: Path  # where the model or the adapter goes, and history.parquet
    counts: Path  # a JSON file: the artifact's counts


class PerplexityJob(Config):
    """Score a corpus by the base, and by the base with the adapter."""

    base: Path
    adapter: Path
    corpus: Path
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    tokens_at_once: int
    out: Path
    counts: Path
