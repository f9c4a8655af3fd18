"""An encoder of the BERT family as a base: every token sees all others, but no padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from tasks.model.bases.weights import read_weights, refuse_missing


@dataclass(frozen=True)
class Encoder:
    """An encoder without any head."""

    model: PreTrainedModel

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

    def states(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """Token states [batch, tokens, hidden] of padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        states: Tensor = self.model(
            input_ids=input_ids, attention_mask=present.to(torch.long)
        ).last_hidden_state
        return states
