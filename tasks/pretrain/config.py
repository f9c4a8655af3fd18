"""What the pretrain stage makes: a base model, or which one to take, and the clinical adapter."""

from pydantic import Field

from tasks.config import Config
from tasks.model.adapters.methods import Lora, Method
from tasks.model.bases.config import BaseConfig
from tasks.training.config import TrainingConfig


class PretrainConfig(Config):
    """From notes to the clinical adapter: a causal language model, its base frozen."""

    base: BaseConfig = Field(description="The language model that is adapted")
    adapter: Method = Field(default=Lora(), description="Size and place of the clinical adapter")
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
        default=None, ge=1, description="Train on at most this many tokens; empty: all epochs"
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="How the clinical adapter is trained"
    )
    perplexity_patients: int | None = Field(
        default=None,
        ge=1,
        description="Measure perplexity on this many validation patients; empty: on all of them",
    )
