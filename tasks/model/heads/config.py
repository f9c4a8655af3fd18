"""What turns token states into a logit for each label: a union of heads, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config import Config, kind_or

if TYPE_CHECKING:
    from tasks.model.heads.head import Head

Pool = Literal["last", "mean", "max", "attention"]


class _AnyHead(Config):
    """What all heads have."""

    start_from_titles: bool = True
    """Start a label's query and weight from its title, embedded by the model"""
    learning_rate: float = Field(default=3e-3, gt=0)  # at 1e-2 runs collapsed
    """Peak learning rate of the heads"""
    scaling: Literal["whitened", "centered", "none"] = "whitened"
    """What is done to the token states. whitened: uncorrelated and of one size in every direction;
    centered: their mean is taken off, and they are divided by one number; none: nothing"""
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a note's tokens that a training step does not read"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the states' values that a training step sets to zero"""

    def rate_of(self, parameter: str) -> float:
        """The peak learning rate of the head's parameter of that name."""
        return self.learning_rate


# of 30 labels, the way to the best reachable AUROC: attention 80%, max pooling 77%, mean 62%,
# last token 53% (two cores, 35 s, hidden 64)
class LabelAttentionConfig(_AnyHead):
    """Each label attends to the tokens that speak for it."""

    kind: Literal["label_attention"] = "label_attention"
    query_size: float | None = Field(default=None, gt=0)
    """Length of a label's query at the start; empty: the root of the states' width. How sharply
    a label attends to begin with"""
    weight_size: float = Field(default=1.0, gt=0)
    """Length of a label's weight at the start"""
    query_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the queries, or of the matrix by which they are tied; empty:
    learning_rate"""
    bias_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the biases; empty: learning_rate"""
    queries: Literal["titles", "free", "tied"] = "titles"
    """What a label's query has to do with its embedded title. titles: it starts there, if
    start_from_titles says so; free: it starts at random; tied: it stays the title's direction, as
    turned by a matrix that all labels share and learn"""

    @model_validator(mode="after")
    def _tied_to_something(self) -> Self:
        if self.queries == "tied" and not self.start_from_titles:
            raise ValueError(
                "queries are tied to titles, but start_from_titles is off; set one of them "
                "otherwise"
            )
        return self

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.label_attention import LabelAttentionHead, TiedLabelAttentionHead

        sizes = self.query_size, self.weight_size
        match self.queries:
            case "titles":
                return LabelAttentionHead(hidden, labels, *sizes)
            case "free":
                return LabelAttentionHead(hidden, labels, *sizes, free=True)
            case "tied":
                return TiedLabelAttentionHead(hidden, labels, *sizes)

    def rate_of(self, parameter: str) -> float:
        rates = {
            "query": self.query_learning_rate,
            "projection": self.query_learning_rate,
            "bias": self.bias_learning_rate,
        }
        return rates.get(parameter) or self.learning_rate


class LinearConfig(_AnyHead):
    """One layer on a pooled state, as in the paper."""

    kind: Literal["linear"] = "linear"
    pool: Pool = "last"
    """Which state is read: the last token's, as in the paper, the mean or the maximum of all
    tokens', or their mean weighted by learned attention"""
    bias: bool = True
    """Off: a label has a weight alone, as in the paper. With scaling: none that is a head as
    transformers' own decoders and LoRA servers have it, for `clinfuse export`"""

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.linear import LinearHead

        return LinearHead(hidden, labels, self.pool, self.bias)


# The next four are what Le et al. (arXiv 2407.19299) compare; their sizes are not published, and
# these are ours
class AdapterConfig(_AnyHead):
    """A linear layer on a pooled state, to which a bottleneck adds: h + Up ReLU Down h."""

    kind: Literal["adapter"] = "adapter"
    pool: Pool = "last"
    """Which state is read, as of a linear head"""
    bottleneck: int = Field(default=64, ge=1)
    """Width of the layer between"""
    bottleneck_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of that layer's values that a training step sets to zero"""

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.adapter import AdapterHead

        return AdapterHead(hidden, labels, self.pool, self.bottleneck, self.bottleneck_dropout)


class LightweightConfig(_AnyHead):
    """A linear layer on a pooled state that went through a bottleneck: LayerNorm Up Down h."""

    kind: Literal["lightweight"] = "lightweight"
    pool: Pool = "last"
    """Which state is read, as of a linear head"""
    bottleneck: int = Field(default=64, ge=1)
    """Width of the layer between"""

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.lightweight import LightweightHead

        return LightweightHead(hidden, labels, self.pool, self.bottleneck)


class TinyAttentionConfig(_AnyHead):
    """A linear layer on a pooled state, before which tokens attend to each other."""

    kind: Literal["tiny_attention"] = "tiny_attention"
    pool: Pool = "last"
    """Which state is read, as of a linear head"""
    attention_heads: int = Field(default=1, ge=1)
    """In how many ways tokens attend"""
    size: int = Field(default=16, ge=1)
    """Width of a query, a key and a value of each"""

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.tiny_attention import TinyAttentionHead

        return TinyAttentionHead(hidden, labels, self.pool, self.attention_heads, self.size)


class GatedResidualConfig(_AnyHead):
    """A linear layer on a pooled state that went through a gated residual network."""

    kind: Literal["gated_residual"] = "gated_residual"
    pool: Pool = "last"
    """Which state is read, as of a linear head"""
    bottleneck: int = Field(default=64, ge=1)
    """Width of the layers between"""
    bottleneck_dropout: float = Field(default=0.15, ge=0, lt=1)
    """Share of their values that a training step sets to zero"""

    def build(self, hidden: int, labels: int) -> Head:
        """A new head, its weights not yet started."""
        from tasks.model.heads.gated_residual import GatedResidualHead

        inner = self.bottleneck, self.bottleneck_dropout
        return GatedResidualHead(hidden, labels, self.pool, *inner)


HeadConfig = Annotated[
    LabelAttentionConfig
    | LinearConfig
    | AdapterConfig
    | LightweightConfig
    | TinyAttentionConfig
    | GatedResidualConfig,
    Field(discriminator="kind"),
    kind_or("label_attention"),
]


class HeadShape(Config):
    """A head as it is saved: what it is made from, and which label each of its logits is for."""

    outcome: str
    head: HeadConfig
    hidden: int
    parts: int = 1  # of a state, of equal width: what was joined is scaled each by itself
    labels: tuple[tuple[str, str], ...]  # (code_system, code) of each logit, in order

    def build(self) -> Head:
        """A new head of this shape, its weights not yet started."""
        return self.head.build(self.hidden, len(self.labels))
