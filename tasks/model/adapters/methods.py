"""How an adapter changes a base: one class a method, in PEFT's terms, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.config import Config, kind_or
from tasks.keys import fingerprint
from tasks.model.bases.config import Targets
from tasks.store import Store

TASK = "task"  # the adapter that is learned for a task; it comes last in a sum


class OnLayers(Config):
    """A method that changes layers of the base."""

    # q_proj and v_proj in the paper; on two cores all linears learn faster (69% against 80%)
    targets: Targets = "all-linear"
    """Which linear layers are changed: all-linear, all of them but the output layer; attention or
    ffn, those of the attention or of the feedforward blocks; or those with these names, e.g.
    [q_proj, v_proj]"""


class Lora(OnLayers):
    """A low-rank update dW = alpha / rank * B A beside frozen weights (Hu et al. 2021)."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)  # paper: 16
    """Inner dimension of the update"""
    alpha: float = Field(default=32.0, gt=0)  # paper: 32
    """The update is scaled by alpha / rank"""
    dropout: float = Field(default=0.0, ge=0, lt=1)  # paper: 0.0
    """Dropout on the update's input"""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023); pretrain.adapter of kind lora does
    so where this is left out"""

    def peft(self) -> dict[str, Any]:
        """What `peft.get_peft_config` makes the method from, but for the target layers."""
        return {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "bias": "none",
        }


class Dora(Lora):
    """LoRA on a weight's direction, and its magnitude apart from that (Liu et al. 2024)."""

    kind: Literal["dora"] = "dora"  # type: ignore[assignment]

    def peft(self) -> dict[str, Any]:
        return {**super().peft(), "use_dora": True}


class Pissa(OnLayers):
    """LoRA that starts from the weights' first singular vectors (Meng et al. 2024).

    Saved as a plain LoRA of twice the rank, which needs nothing but the base as it was.
    """

    kind: Literal["pissa"] = "pissa"
    rank: int = Field(default=16, ge=1)
    """Singular vectors of a weight that are trained"""
    iterations: int | None = Field(default=16, ge=0)
    """Power iterations of a fast approximate decomposition; empty: the exact one, which takes
    minutes for a 7B model"""

    def peft(self) -> dict[str, Any]:
        # alpha is the rank, as in the paper: what it is started from is all that it is scaled by
        return {"peft_type": "LORA", "r": self.rank, "lora_alpha": self.rank, "bias": "none"}


class AdaLora(OnLayers):
    """An update in the form of an SVD, whose rank goes to the layers that need it (Zhang 2023)."""

    kind: Literal["adalora"] = "adalora"
    initial_rank: int = Field(default=12, ge=1)
    """Rank of every layer at first"""
    rank: int = Field(default=8, ge=1)
    """Rank of a layer in the end, on average"""
    alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by alpha / initial_rank"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the update's input"""
    full_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps, from the first, in which every layer has its initial rank"""
    final_share: float = Field(default=0.3, ge=0, lt=1)
    """Share of the steps, up to the last, in which the ranks stay as they are"""
    every_steps: int = Field(default=10, ge=1)
    """Between these, ranks are given out anew after this many steps"""
    beta: float = Field(default=0.85, gt=0, lt=1)  # the base paper's configuration
    """How slowly the averages of importance and of its uncertainty change"""
    orthogonality: float = Field(default=0.5, ge=0)
    """Weight of the penalty that keeps the singular vectors orthogonal"""

    @model_validator(mode="after")
    def _ranks_fall(self) -> AdaLora:
        if self.rank > self.initial_rank:
            raise ValueError("rank is above initial_rank; ranks only fall")
        if self.full_share + self.final_share > 1:
            raise ValueError("full_share and final_share are more than 1 together; lower one")
        return self

    def peft(self) -> dict[str, Any]:
        return {
            "peft_type": "ADALORA",
            "init_r": self.initial_rank,
            "target_r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "beta1": self.beta,
            "beta2": self.beta,
            "orth_reg_weight": self.orthogonality,
            "total_step": 1,  # PEFT asks for some; tasks/model/adapters/adalora.py gives out ranks
            "bias": "none",
        }


class Ia3(Config):
    """A factor for each output or input of a layer (Liu et al. 2022)."""

    kind: Literal["ia3"] = "ia3"
    targets: Targets | None = None
    """Which linear layers are scaled, as for lora: those of a feedforward block at their input,
    others at their output. Empty: keys, values and the last layer of a feedforward block, as PEFT
    knows them of the base's architecture"""

    def peft(self) -> dict[str, Any]:
        return {"peft_type": "IA3"}


class Vera(OnLayers):
    """Random low-rank matrices, shared and frozen, with trained factors (Kopiczko et al. 2024)."""

    kind: Literal["vera"] = "vera"
    rank: int = Field(default=256, ge=1)
    """Inner dimension of the matrices"""
    initial: float = Field(default=0.1, gt=0)
    """First value of the inner factors; the outer ones start at zero"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the update's input"""

    def peft(self) -> dict[str, Any]:
        return {
            "peft_type": "VERA",
            "r": self.rank,
            "d_initial": self.initial,
            "vera_dropout": self.dropout,
            "projection_prng_key": 0,
            "save_projection": True,  # generators may differ between versions of torch
            "bias": "none",
        }


class VirtualTokens(Config):
    """A method that puts virtual tokens before a text."""

    tokens: int = Field(default=20, ge=1)
    """Virtual tokens; they count among the positions of the base"""


class Prefix(VirtualTokens):
    """Keys and values of virtual tokens, in every layer (Li and Liang 2021)."""

    kind: Literal["prefix"] = "prefix"
    projection: int | None = Field(default=None, ge=1)
    """Width of an MLP that makes them in training, and is not saved; empty: none"""

    def peft(self) -> dict[str, Any]:
        return {
            "peft_type": "PREFIX_TUNING",
            "num_virtual_tokens": self.tokens,
            "prefix_projection": self.projection is not None,
            "encoder_hidden_size": self.projection,
        }


class Prompt(VirtualTokens):
    """Embeddings of virtual tokens (Lester et al. 2021)."""

    kind: Literal["prompt"] = "prompt"
    start: Literal["vocabulary", "random"] = "vocabulary"
    """Their first values: those of tokens drawn from the vocabulary, or normal noise"""

    def peft(self) -> dict[str, Any]:
        start = "SAMPLE_VOCAB" if self.start == "vocabulary" else "RANDOM"
        return {
            "peft_type": "PROMPT_TUNING",
            "num_virtual_tokens": self.tokens,
            "prompt_tuning_init": start,
        }


class PTuning(VirtualTokens):
    """Embeddings of virtual tokens that a small network makes in training (Liu et al. 2021)."""

    kind: Literal["p_tuning"] = "p_tuning"
    network: Literal["lstm", "mlp"] = "lstm"
    """What makes them; it is not saved"""
    width: int = Field(default=256, ge=1)
    """Hidden units of the network"""
    layers: int = Field(default=4, ge=1)
    """Layers of an LSTM; an MLP has two hidden ones"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between the layers of an LSTM"""

    def peft(self) -> dict[str, Any]:
        layers = {"encoder_num_layers": self.layers} if self.network == "lstm" else {}
        return {
            "peft_type": "P_TUNING",
            "num_virtual_tokens": self.tokens,
            "encoder_reparameterization_type": self.network.upper(),
            "encoder_hidden_size": self.width,
            "encoder_dropout": self.dropout,
            **layers,
        }


class AdaptionPrompt(Config):
    """Learned tokens that attention also looks at, gated, zero at first (LLaMA-Adapter, 2023)."""

    kind: Literal["adaption_prompt"] = "adaption_prompt"
    tokens: int = Field(default=10, ge=1)
    """Learned tokens of a layer"""
    layers: int | None = Field(default=None, ge=1)
    """How many layers have them, counted from the top; empty: all"""

    def peft(self) -> dict[str, Any]:
        return {
            "peft_type": "ADAPTION_PROMPT",
            "adapter_len": self.tokens,
            "adapter_layers": self.layers,
        }


class Full(Config):
    """All weights of the base. What is saved is a whole model, and no adapter."""

    kind: Literal["full"] = "full"


class BitFit(Config):
    """The base's vectors: biases, and weights of norms (Ben Zaken et al. 2022).

    A LLaMA has no biases, so that its norms learn alone (Zhao et al. 2023, "LayerNorm tuning").
    """

    kind: Literal["bitfit"] = "bitfit"


class Bottleneck(Config):
    """Small networks behind the sublayers of a frozen base (Houlsby et al. 2019)."""

    kind: Literal["bottleneck"] = "bottleneck"
    behind: Literal["both", "ffn"] = "ffn"
    """both: behind attention and feedforward sublayers (Houlsby); ffn: behind the latter alone, for
    half of the parameters (Pfeiffer et al. 2021)"""
    reduction: int = Field(default=8, ge=1)
    """How many times narrower than the base's states a network is"""


class InsertBlocks(Config):
    """New blocks between those of a frozen decoder (Inner Adaptor Architecture, 2024).

    Each is a copy of the block below it, whose outputs are zero at first.
    """

    kind: Literal["insert_blocks"] = "insert_blocks"
    after: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """After which blocks of the base a new one stands, counted from 1"""

    @model_validator(mode="after")
    def _each_once(self) -> InsertBlocks:
        if len(set(self.after)) < len(self.after):
            raise ValueError("a block is named twice; name each once")
        return self


# what can be one of several updates of the same weights, frozen or trained
Method = Annotated[Lora | Dora, Field(discriminator="kind"), kind_or("lora")]
# what PEFT has a module for
AdapterMethod = (
    Lora | Dora | Pissa | AdaLora | Ia3 | Vera | Prefix | Prompt | PTuning | AdaptionPrompt
)
# what can be trained on notes
DomainMethod = Annotated[
    AdapterMethod | InsertBlocks | Full, Field(discriminator="kind"), kind_or("lora")
]

# what can be trained for a task
TaskMethod = Annotated[
    Lora
    | Dora
    | Pissa
    | AdaLora
    | Ia3
    | Vera
    | Prefix
    | Prompt
    | PTuning
    | Full
    | BitFit
    | Bottleneck,
    Field(discriminator="kind"),
    kind_or("lora"),
]
AnyMethod = DomainMethod | TaskMethod


def targets_of(method: AnyMethod) -> Targets | None:
    """The layers that a method changes, where that is for the user to say."""
    return method.targets if isinstance(method, OnLayers | Ia3) else None


def tokens_before(method: AnyMethod | None) -> int:
    """How many virtual tokens stand before a text."""
    return method.tokens if isinstance(method, VirtualTokens) else 0


class BaseName(Config):
    """What an adapter's config calls its base: no path of this machine."""

    name: str | None = None  # an id of the hub, "base/KEY" in the store, or "sha256:..."
    revision: str | None = None  # of the hub

    @classmethod
    def of(cls, base: Path, known_as: tuple[str, str] | None, store: Store) -> BaseName:
        """The name by which a base is found again.

        Args:
            known_as: its id and revision on the hub, where it is from there.
        """
        if known_as is not None:
            return cls(name=known_as[0], revision=known_as[1])
        if base.parent.parent == store.root:
            return cls(name=f"{base.parent.name}/{base.name}")
        return cls(name=f"sha256:{fingerprint(base, store.fingerprints)[:16]}")


UNNAMED = BaseName()
