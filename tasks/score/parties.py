"""One forward pass for all that several ask of the members that share it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.data.notes import padded
from tasks.model.bases.load import check_positions
from tasks.model.heads.heads import Heads
from tasks.model.score import SCORED_TOKENS, Logits, in_batches
from tasks.model.trunk import as_kept
from tasks.score.backbone import Backbone

Ids = list[NDArray[np.int32]]  # of each text


class Party:
    """Those that ask a member for the same outcomes, of some of the texts."""

    def __init__(self, heads: Heads, outcomes: Sequence[str], texts: int) -> None:
        """Of so many texts, of which none is wanted yet."""
        self.heads, self.outcomes = heads, outcomes
        self.wanted = np.zeros(texts, np.bool_)
        self._logits: Logits = {
            shape.outcome: np.empty((texts, len(shape.labels)), np.float32)
            for shape in heads.shapes
            if shape.outcome in outcomes
        }

    def score(self, states: Tensor, present: Tensor, rows: NDArray[np.int64]) -> None:
        """Compute the logits of what is wanted of a batch.

        Args:
            states, present: [batch, tokens, hidden] and [batch, tokens].
            rows: which texts these are, [batch].
        """
        mine = self.wanted[rows]
        if not mine.any():
            return
        if not mine.all():
            chosen = torch.from_numpy(mine).to(states.device)
            states, present, rows = states[chosen], present[chosen], rows[mine]
        for outcome, values in self.heads.logits(states, present, self.outcomes).items():
            self._logits[outcome][rows] = values.float().cpu().numpy()

    def of(self, rows: NDArray[np.int64]) -> Logits:
        """The logits of these texts, [rows, labels]."""
        return {outcome: values[rows] for outcome, values in self._logits.items()}


@torch.inference_mode()
def score_together(
    backbone: Backbone, parties: Sequence[Party], texts: Ids, pad: int, *, kept: bool
) -> None:
    """Compute what these ask for, in one forward pass of each batch of the texts.

    Args:
        kept: whether the heads were trained on states that were kept in half precision.
    """
    lengths = np.maximum([len(ids) for ids in texts], 1)
    check_positions(backbone.base, int(lengths.max(initial=1)))
    for rows in in_batches(lengths, SCORED_TOKENS):
        arrays = padded([texts[row] for row in rows], pad)
        ids, present = (torch.from_numpy(array).to(backbone.device) for array in arrays)
        states = backbone.states(ids, present)
        states = as_kept(states) if kept else states
        for party in parties:
            party.score(states, present, rows)
