"""What the pretrain stage makes: a base model, or which one to take, and the clinical adapter."""

from pydantic import Field

from tasks.config import Config
from tasks.model.adapters.methods import Lora, Method
from tasks.model.bases.config import BaseConfig
from tasks.training.config import TrainingConfig


class PretrainConfig(Config):
    """From notes to the clinical adapter: a causal language model, its base frozen."""

    base: BaseConfig
    """The language model that is adapted"""
    adapter: Method = Lora()
    """Size and place of the clinical adapter"""
    sequence_length: int = Field(default=512, ge=8)  # the paper's final setting
    """Tokens of a packed training sequence"""
    epochs: float = Field(default=1.0, gt=0)  # as in the paper
    """Passes over the notes of the training patients; may be a fraction"""
    max_tokens: int | None = Field(default=None, ge=1)
    """Train on at most this many tokens; empty: all epochs"""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """How the clinical adapter is trained"""
    perplexity_patients: int | None = Field(default=None, ge=1)
    """Measure perplexity on this many validation patients; empty: on all of them"""
