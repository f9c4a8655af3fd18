"""What the stage's training programs are told, without torch: what their steps take."""

from typing import Literal

from tasks.config import Config
from tasks.keys import Input
from tasks.model.adapters.methods import UNNAMED, BaseName, DomainMethod, Method
from tasks.model.bases.config import GgufBase, Quantization, ScratchBase
from tasks.pretrain.config import MaskingConfig, OntologyConfig
from tasks.training.config import TrainingConfig


class BaseJob(Config):
    """Make a new model; train all of it."""

    base: ScratchBase
    tokenizer: Input
    corpus: Input

    @property
    def training(self) -> TrainingConfig:
        return self.base.training

    @property
    def epochs(self) -> float:
        return self.base.epochs

    @property
    def max_tokens(self) -> int | None:
        return None


class ConvertJob(Config):
    """Make a Hugging Face directory of a base that is in another format."""

    base: GgufBase


class QuantizeJob(Config):
    """Make a copy of a base with fewer bits a weight."""

    base: Input
    quantization: Quantization


class EncoderReading(Config):
    """What an encoder is to predict in a text."""

    tokenizer: Input
    masking: MaskingConfig


class AdapterJob(Config):
    """Put a new adapter on a base; train the adapter alone."""

    base: Input
    base_name: BaseName = UNNAMED  # for the adapter's config
    corpus: Input
    adapter: DomainMethod
    training: TrainingConfig
    epochs: float
    max_tokens: int | None
    encoder: EncoderReading | None = None  # of an encoder only
    keeps_output: bool = False  # whether an output layer, which the base has not, is written, too


class OutputJob(Config):
    """Put a new output layer on an encoder that has none; train the layer alone."""

    base: Input
    corpus: Input
    training: TrainingConfig
    epochs: float
    max_tokens: int | None
    encoder: EncoderReading


class OntologyJob(Config):
    """Put a new adapter on a base; train it on the titles of codes."""

    base: Input
    base_name: BaseName = UNNAMED  # for the adapter's config
    layer: int | None = None  # whose states are to tell; those above it are left out
    tokenizer: Input
    corpus: Input | None  # that titles are planted into; None where they make sentences
    ontology: Input
    config: OntologyConfig

    @property
    def adapter(self) -> Method:
        return self.config.adapter

    @property
    def training(self) -> TrainingConfig:
        return self.config.training


class PerplexityJob(Config):
    """Score notes by the base, and by the base with the adapter."""

    base: Input
    adapter: Input
    notes: Input  # in tokens
    window: int  # tokens that are read at once
    stride: int  # tokens from one window to the next; an encoder's chunks do not overlap
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    encoder: EncoderReading | None = None  # of an encoder only
    output: Input | None = None  # the base's output layer, where it came with none
