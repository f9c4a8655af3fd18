"""What the pretrain stage makes: a base model, or which one to take, and adapters of the domain."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tasks.config import Config
from tasks.model.adapters.allows import allows
from tasks.model.adapters.methods import DomainMethod, Lora, Method
from tasks.model.bases.config import BaseConfig
from tasks.training.config import TrainingConfig, without_null_rate

Objective = Literal["planted", "sentences"]
Titles = Literal["own", "shuffled", "span"]


class MaskingConfig(Config):
    """What an encoder, which sees both sides of a word, learns from: words taken out of notes."""

    share: float = Field(default=0.15, gt=0, lt=1)  # BERT's, and its 80/10/10
    """Share of the words that are to be predicted, each with all its pieces"""
    masked: float = Field(default=0.8, ge=0, le=1)
    """Share of these that the model sees as masks"""
    random: float = Field(default=0.1, ge=0, le=1)
    """Share of these that the model sees as random pieces; it sees the others as they are"""

    @model_validator(mode="after")
    def _shares_fit(self) -> "MaskingConfig":
        if self.masked + self.random > 1:
            raise ValueError("masked and random are more than 1 together; lower one of them")
        return self


class OntologyTraining(TrainingConfig):
    """How the ontology adapter is trained; one contrast a step, whatever the number of ranks."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW"""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls to zero after the warmup"""
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps in which the rate rises from zero to its peak"""
    batch_size: int = Field(default=12, ge=2)
    """Texts of a step, which are told from one another: it is not cut into parts. Or sentences of a
    step, which is cut as any other"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU and on a CPU that computes in it, else fp32"""


# defaults: trials on CodiEsp with MiniLM (two minutes on one core)
class OntologyConfig(Config):
    """The ontology adapter: titles of ICD's codes find the spans of notes that they stand in.

    A step: titles of random codes are planted into spans of unlabelled notes. By label attention,
    the titles of the codes' categories find their texts, and texts the categories. No label of any
    patient enters.

    Or sentences of titles alone, "X is a type of Y": of each, one side is predicted from the other.
    """

    objective: Objective = "planted"
    """planted: titles of codes find the spans of notes that they are planted into. sentences: no
    note, but "X is a type of Y" of codes, categories, blocks and chapters; an encoder predicts all
    words of one side, a decoder the side that comes last. Of the other keys, span, planted,
    categories, near, chapters and the scales are of planted only"""
    adapter: Method = Lora()
    """Size and place of the ontology adapter"""
    training: OntologyTraining = OntologyTraining()
    """How the ontology adapter is trained"""
    steps: int = Field(default=100, ge=1)
    """Optimizer steps; sentences take more of them"""
    span: int = Field(default=32, ge=4)
    """Pieces of a note that a text is made of, at most"""
    planted: int = Field(default=4, ge=1)
    """Codes whose titles are planted into a text; by titles: span, its parts that are queries"""
    categories: int = Field(default=48, ge=2)
    """Categories of a step, whose titles are the queries"""
    near: float = Field(default=0.5, ge=0, le=1)
    """Share of the categories that come from few chapters, so that they are hard to tell apart"""
    chapters: int = Field(default=2, ge=1)
    """How many chapters these come from"""
    codes_per_category: int = Field(default=20, ge=1)
    """Codes of a category that are used, at most; there are titles of 20 a category"""
    title_pieces: int = Field(default=24, ge=1)
    """Pieces of a title, at most"""
    scale: float = Field(default=20.0, gt=0)
    """What a cosine is multiplied by at first, in the attention and in the logit; both are
    learned"""
    scale_learning_rate: float = Field(default=0.1, ge=0)
    """Peak learning rate of these two"""
    titles: Titles = "own"
    """own: a category's own title is its query. Two controls: shuffled: another category's, which
    tells what titles say from what training does; span: no ontology, but some of a text's own words
    find it (not of sentences, which have no text)"""

    @model_validator(mode="after")
    def _titles_fit(self) -> "OntologyConfig":
        if self.objective == "sentences" and self.titles == "span":
            raise ValueError(
                "objective: sentences are of titles, so that titles: span says nothing; "
                "take titles: own or shuffled"
            )
        return self


class PretrainConfig(Config):
    """From notes to adapters of the domain, the base frozen."""

    base: BaseConfig
    """The language model that is adapted"""
    adapter: DomainMethod = Field(default=Lora(), validate_default=True)
    """How notes change the base: lora, dora, pissa, adalora, ia3, vera, prefix, prompt, p_tuning,
    adaption_prompt, insert_blocks or full, with its size and place. A lora is scaled by
    alpha / sqrt(rank) unless rslora is false"""
    sequence_length: int = Field(default=512, ge=8)  # the paper's final setting
    """Tokens of a training sequence: packed, or of an encoder at most so much of a note"""
    epochs: float = Field(default=1.0, gt=0)  # as in the paper
    """Passes over the notes of the training patients; may be a fraction"""
    max_tokens: int | None = Field(default=None, ge=1)
    """Train on at most this many tokens; empty: all epochs"""
    training: TrainingConfig = Field(default_factory=TrainingConfig, validate_default=True)
    """How the clinical adapter is trained; where learning_rate is left out or null, at the rate of
    its method"""
    masking: MaskingConfig = MaskingConfig()
    """What the clinical adapter of an encoder learns from; a decoder predicts the next token"""
    perplexity_patients: int | None = Field(default=None, ge=1)
    """Measure perplexity on this many validation patients; empty: on all of them"""
    perplexity_stride: int | None = Field(default=None, ge=1)
    """A note longer than sequence_length is read in windows that many tokens apart; a token is
    scored once, with the window's earlier tokens as context. Empty: half of sequence_length"""
    ontology: OntologyConfig = OntologyConfig()
    """The ontology adapter, made where a member has it among its summands"""

    @field_validator("adapter")
    @classmethod
    def _scaled_by_the_root(cls, method: DomainMethod) -> DomainMethod:
        if method.kind == "lora" and "rslora" not in method.model_fields_set:
            return method.model_copy(update={"rslora": True})
        return method

    @field_validator("training", mode="before")
    @classmethod
    def _null_is_no_rate(cls, given: Any) -> Any:
        return without_null_rate(given)

    @field_validator("training")
    @classmethod
    def _at_the_methods_rate(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        method = info.data.get("adapter")
        if method is None or "learning_rate" in training.model_fields_set:
            return training
        return training.model_copy(update={"learning_rate": allows(method).learning_rate})

    @property
    def stride(self) -> int:
        """Tokens from one window of a note to the next."""
        return self.perplexity_stride or self.sequence_length // 2

    @model_validator(mode="after")
    def _windows_overlap(self) -> "PretrainConfig":
        if self.stride >= self.sequence_length:
            raise ValueError(
                "perplexity_stride must be below sequence_length, so that windows overlap"
            )
        return self
