"""How the task adapters and heads are trained, and what they are compared with."""

from typing import Literal

from pydantic import Field, model_validator

from tasks.config import Config
from tasks.model.lora import LoraSettings
from tasks.training.config import TrainingConfig

Arm = Literal["fused", "unfused"]


class HeadConfig(Config):
    """What turns token states into a logit for each label."""

    # of 30 labels, the way to the best reachable AUROC: attention 80%, max pooling 77%, mean 62%,
    # last token 53% (two cores, 35 s, hidden 64)
    kind: Literal["label_attention", "linear"] = Field(
        default="label_attention",
        description="label_attention: each label attends to the tokens that speak for it; linear: "
        "one layer on a pooled state, as in the paper",
    )
    pool: Literal["last", "mean", "max"] = Field(
        default="last", description="Which state a linear head reads; the paper's is the last"
    )
    start_from_titles: bool = Field(
        default=True,
        description="Start a label's query and weight from its title, embedded by the model",
    )
    learning_rate: float = Field(
        default=3e-3, gt=0, description="Peak learning rate of the heads"
    )  # at 1e-2 runs collapsed


class TfidfConfig(Config):
    """The baseline: TF-IDF and one logistic regression a label."""

    max_features: int = Field(
        default=20_000, ge=1, description="Only so many most frequent terms are used"
    )
    longest_ngram: int = Field(default=1, ge=1, le=3, description="Terms of up to so many words")
    strengths: tuple[float, ...] = Field(
        default=(0.1, 1.0, 10.0),
        min_length=1,
        description="Values of C (inverse regularization) to choose from, on validation",
    )


class FinetuneConfig(TrainingConfig):
    """From admission notes, outcomes and a clinical adapter to task adapters and predictions."""

    arms: tuple[Arm, ...] = Field(
        default=("fused", "unfused"),
        min_length=1,
        description="fused: W + dW(clinical) + dW(task); unfused: the same without the clinical "
        "adapter, to see what that is worth",
    )
    clinical: Literal["frozen", "trainable"] = Field(
        default="frozen", description="Whether finetuning may change the clinical adapter (a copy)"
    )
    joint: bool = Field(
        default=True,
        description="One task adapter for all outcomes with a head each: one forward pass serves "
        "all. Off: an adapter for each outcome, as in the paper",
    )
    lora: LoraSettings = Field(default_factory=LoraSettings, description="The task adapter")
    head: HeadConfig = Field(default_factory=HeadConfig, description="The heads")
    # two cores, hidden 64: 2e-3 learns in minutes; 3e-3 with a trainable clinical adapter collapsed
    learning_rate: float = Field(
        default=2e-3, gt=0, description="Peak learning rate of the adapters (AdamW)"
    )
    epochs: int = Field(default=4, ge=1, description="Passes over the training admissions")
    positive_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="balanced: in the loss a label's cases weigh as much as its controls; the "
        "weight is taken off the saved head again, so that probabilities stay those of the data",
    )
    max_tokens: int = Field(
        default=512, ge=8, description="A note's tokens beyond this many are not read"
    )
    max_labelled_admissions: int | None = Field(
        default=None,
        ge=1,
        description="Learn from only so many training admissions, chosen by a hash; empty: all",
    )
    collapse_below: float = Field(
        default=0.55,
        ge=0,
        le=1,
        description="Fail when the best validation macro AUROC stays below this, or the last one "
        "falls back towards chance, by more than chance explains with so few admissions (else "
        "warn); 0 publishes whatever comes out",
    )
    tfidf: TfidfConfig | None = Field(
        default_factory=TfidfConfig, description="The TF-IDF baseline; null leaves it out"
    )

    @model_validator(mode="after")
    def _arms_differ(self) -> "FinetuneConfig":
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("an arm is named twice; name each once")
        return self
