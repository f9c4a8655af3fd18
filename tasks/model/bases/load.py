"""A base from its directory, of whichever architecture: something that gives token states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.errors import ConfigError
from tasks.model.bases.causal import Causal
from tasks.model.bases.chunks import RowsRead
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.files import is_causal
from tasks.model.bases.layers import cut
from tasks.model.bases.lower import LowerLayers


class Base(Protocol):
    """A frozen pretrained model, on which adapters are put, and what it makes of a text."""

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def lower(self) -> LowerLayers | None:
        """Layers that can be passed over; None: all are computed."""
        ...

    def states(self, input_ids: Tensor, present: Tensor, leaving: Tensor | None = None) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding, of which no state depends.
            leaving: [tokens of all rows, hidden], what leaves the lower layers, text by text; None:
                they are computed.
        """
        ...

    def rows(self, input_ids: Tensor, present: Tensor) -> RowsRead:
        """The rows that are read of such texts: the texts, or their chunks."""
        ...

    def called(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """The states [rows, length, hidden] of such rows."""
        ...


def load_base(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    deepspeed: Mapping[str, Any] | None = None,
    layer: int | None = None,
    *,
    words: bool = False,
    chunk: int | None = None,
    passed_over: int = 0,
) -> Base:
    """Load a base from a Hugging Face directory, frozen and without its output layer.

    Args:
        deepspeed: the engine's configuration; under ZeRO-3 each rank then loads its share only.
        layer: whose states are read, counted from 1; those above it are left out. None: the last.
        words: whether each token's own embedding is joined to its state.
        chunk: tokens that are read at once; longer texts are read in chunks. None: what the base
            can, which of a decoder is any number.
        passed_over: so many lower layers need not be computed where what leaves them is given.

    Raises ModelError where the directory holds no such model, or not all of its weights,
    ConfigError where it has no such layer.
    """
    architecture = Causal if is_causal(folder) else Encoder
    base = replace(architecture.load(folder, dtype, deepspeed), words=words, chunk=chunk)
    if layer is not None:
        cut(base.model, layer)
    return replace(base, lower=LowerLayers(base.model, passed_over)) if passed_over else base


def leaving(base: Base, input_ids: Tensor, present: Tensor) -> tuple[Tensor, ...]:
    """What leaves the lower layers as the base reads these texts [texts, tokens]: of each text the
    states [tokens of all its rows, hidden]. ModelError: that is not all that the upper ones read.
    """
    assert base.lower is not None
    rows = base.rows(input_ids, present)
    return rows.by_text(base.lower.leaving(base.called, rows.input_ids, rows.present))


@torch.no_grad()
def states_width(base: Base) -> int:
    """How wide the token states are, which is not config.hidden_size in every architecture."""
    token = torch.zeros((1, 1), dtype=torch.long, device=base.model.device)
    return base.states(token, torch.ones_like(token, dtype=torch.bool)).shape[-1]


def check_positions(base: Base, longest: int) -> None:
    """Raise ConfigError where a text of so many tokens has more than there are positions.

    Rotary positions go on beyond those that the model was trained on, learned ones end. An encoder
    reads a longer text in chunks, and a decoder, if it is told to.
    """
    if isinstance(base, Encoder):
        return
    if isinstance(base, Causal) and base.chunk is not None:
        longest = min(longest, base.chunk)
    model = base.model
    positions = getattr(model.config, "max_position_embeddings", None)
    rotary = getattr(model.config, "rope_parameters", None)
    if positions is not None and longest > positions and not rotary:
        raise ConfigError(
            f"a note has {longest} tokens, but the base has positions for {positions} only; "
            "lower finetune.max_tokens, or set finetune.long_notes to chunks"
        )
