"""An encoder of the BERT family as a base: every token sees all others, but no padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from tasks.model.bases.chunks import RowsRead
from tasks.model.bases.lower import LowerLayers, token_states
from tasks.model.bases.weights import read_weights, refuse_missing
from tasks.model.bases.words import joined


@dataclass(frozen=True)
class Encoder:
    """An encoder without any head."""

    model: PreTrainedModel
    words: bool = False  # whether the tokens' own embeddings are joined to their states
    tokens_before: int = 0  # virtual ones, which take positions of those that it reads at once
    chunk: int | None = None  # tokens that are read at once, where it could read more
    lower: LowerLayers | None = None  # those that can be passed over

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, deepspeed: Mapping[str, Any] | None) -> Encoder:
        """Load it from a Hugging Face directory. Raises ModelError where that holds none."""
        model, missing = read_weights(AutoModel, folder, dtype, deepspeed, "an encoder")
        pooler = getattr(model, "pooler", None)  # of sentence pairs, and often not saved
        if pooler is not None:
            unread = {f"pooler.{name}" for name in pooler.state_dict()}
            missing = [name for name in missing if name not in unread]
            model.pooler = None  # type: ignore[assignment]
        refuse_missing(model, folder, missing)
        return cls(model)

    def states(self, input_ids: Tensor, present: Tensor, leaving: Tensor | None = None) -> Tensor:
        """Token states [batch, tokens, hidden] of padded ids [batch, tokens].

        Texts longer than the encoder reads are read in chunks (`chunks.py`).

        Args:
            present: [batch, tokens] bool, False at padding.
            leaving: [tokens of all rows, hidden], what leaves the lower layers; None: they are
                computed.
        """
        rows = self.rows(input_ids, present)
        states = token_states(rows, self.called, self.lower, leaving)
        return joined(self.model, input_ids, states) if self.words else states

    def rows(self, input_ids: Tensor, present: Tensor) -> RowsRead:
        """The rows that are read of some texts."""
        sizes = [size for size in (self.longest, self.chunk) if size is not None]
        return RowsRead.of(input_ids, present, min(sizes, default=None))

    @property
    def longest(self) -> int | None:
        """The tokens of a text that the encoder reads at once; None: any number."""
        positions = self._positions
        return None if positions is None else positions - self.tokens_before

    @property
    def _positions(self) -> int | None:
        positions = getattr(self.model.config, "max_position_embeddings", None)
        for name, module in self.model.named_modules():
            # RoBERTa counts its positions from behind that of padding
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
                offset = 0 if module.padding_idx is None else module.padding_idx + 1
                return module.num_embeddings - offset
        return positions if positions and positions > 0 else None

    def called(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """The states [rows, length, hidden] of such rows."""
        mask = present.to(torch.long)
        states: Tensor = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return states
