"""How large a LoRA adapter is, where it sits and on what; for pretraining and finetuning."""

from typing import Literal

from pydantic import Field

from tasks.config import Config


class LoraSettings(Config):
    """A low-rank update dW = alpha / rank * B A beside frozen weights (Hu et al. 2021)."""

    rank: int = Field(default=16, ge=1, description="Inner dimension of the update")  # paper: 16
    alpha: float = Field(
        default=32.0, gt=0, description="The update is scaled by alpha / rank"
    )  # paper: 32
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Dropout on the update's input"
    )  # paper: 0.0
    # q_proj and v_proj in the paper; on two cores all linears learn faster (69% against 80%)
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="Which linear layers are updated: all of them but the output layer, or those "
        "with these names, e.g. [q_proj, v_proj]",
    )
    rslora: bool = Field(
        default=False, description="Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)"
    )


class BaseName(Config):
    """What an adapter's config calls its base: no path of this machine."""

    name: str | None = None  # an id of the hub, "base/KEY" in the store, or "sha256:..."
    revision: str | None = None  # of the hub


UNNAMED = BaseName()
