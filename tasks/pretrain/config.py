"""What the pretrain stage makes: a base model, or which one to take, and the clinical adapter."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config import KIND_ALONE, Config
from tasks.model.lora import LoraSettings
from tasks.training.config import TrainingConfig


class ScratchBase(Config):
    """A small LLaMA and its tokenizer, made from nothing: the demo's base."""

    kind: Literal["scratch"] = "scratch"
    corpus: Path = Field(
        description="Text without clinical notes, which the base is trained on: a file whose "
        "documents are parted by blank lines, or a folder of datasets' save_to_disk with a column "
        "'text'. Clinical notes reach the clinical adapter only"
    )
    vocabulary_size: int = Field(
        default=2000, ge=260, description="Tokens of the byte-level BPE, the 3 special ones too"
    )
    hidden_size: int = Field(default=64, ge=8, description="Width of the model")
    layers: int = Field(default=2, ge=1, description="Transformer blocks")
    heads: int = Field(default=4, ge=1, description="Attention heads of a block")
    # the model works on longer texts than it was trained on only as far as its rotary positions
    # were seen, so train it as long as the notes will be
    sequence_length: int = Field(
        default=256, ge=8, description="Tokens of a packed training sequence"
    )
    max_positions: int = Field(
        default=2048, ge=8, description="Longest text that the model may later be given, in tokens"
    )
    epochs: float = Field(default=1.0, gt=0, description="Passes over the corpus")
    training: TrainingConfig = Field(
        default=TrainingConfig(learning_rate=3e-3, batch_size=32, schedule="cosine"),
        description="How the base is trained",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "ScratchBase":
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads (rotary positions)")
        if self.sequence_length > self.max_positions:
            raise ValueError("sequence_length is above max_positions; raise max_positions")
        return self


class PathBase(Config):
    """A causal language model in a local Hugging Face directory."""

    kind: Literal["path"] = "path"
    path: Path = Field(description="The directory: config.json, *.safetensors, a tokenizer")


class HubBase(Config):
    """A causal language model of the Hugging Face hub; the only thing that is ever downloaded."""

    kind: Literal["hub"] = "hub"
    id: str = Field(description="E.g. huggyllama/llama-7b", pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(
        description="A commit, so that the same configuration gives the same model",
        pattern=r"^[0-9a-f]{40}$",
    )


BaseConfig = Annotated[ScratchBase | PathBase | HubBase, Field(discriminator="kind"), KIND_ALONE]


class PretrainConfig(Config):
    """From notes to the clinical adapter: a causal language model, its base frozen."""

    base: BaseConfig = Field(description="The language model that is adapted")
    lora: LoraSettings = Field(
        default_factory=LoraSettings, description="Size and place of the clinical adapter"
    )
    sequence_length: int = Field(
        default=512,  # the paper's final setting
        ge=8,
        description="Tokens of a packed training sequence",
    )
    epochs: float = Field(
        default=1.0,  # as in the paper
        gt=0,
        description="Passes over the notes of the training patients; may be a fraction",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Train on at most so many tokens; empty: all epochs"
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="How the clinical adapter is trained"
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute activations twice rather than keep them: a third slower, and long "
        "sequences of a large base fit",
    )
    perplexity_patients: int | None = Field(
        default=None,
        ge=1,
        description="Measure perplexity on so many validation patients; empty: on all of them",
    )
