"""How an adapter changes a base: one class a method, in PEFT's terms, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.config import Config, kind_or
from tasks.keys import fingerprint
from tasks.model.bases.config import Targets
from tasks.store import Store

TASK = "task"  # the adapter that is learned for a task; it comes last in a sum


class Lora(Config):
    """A low-rank update dW = alpha / rank * B A beside frozen weights (Hu et al. 2021)."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)  # paper: 16
    """Inner dimension of the update"""
    alpha: float = Field(default=32.0, gt=0)  # paper: 32
    """The update is scaled by alpha / rank"""
    dropout: float = Field(default=0.0, ge=0, lt=1)  # paper: 0.0
    """Dropout on the update's input"""
    # q_proj and v_proj in the paper; on two cores all linears learn faster (69% against 80%)
    targets: Targets = "all-linear"
    """Which linear layers are updated: all of them but the output layer, or those with these names,
    e.g. [q_proj, v_proj]"""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)"""

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


Method = Annotated[Lora | Dora, Field(discriminator="kind"), kind_or("lora")]


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
