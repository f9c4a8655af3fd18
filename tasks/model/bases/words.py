"""Token states joined with what the base knows of each token by itself: its input embedding.

A state says what a word means where it stands, and blurs which word it is; where a label is told by
single words, heads do better with both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel


def joined(model: PreTrainedModel, input_ids: Tensor, states: Tensor) -> Tensor:
    """States [batch, tokens, hidden] and the tokens' embeddings: [batch, tokens, 2 hidden].

    Embeddings of another width are cut, or filled up with zeros, to the states'.
    """
    embedded = model.get_input_embeddings()(input_ids).to(states.dtype)
    width = states.shape[-1] - embedded.shape[-1]
    return torch.cat([states, torch.nn.functional.pad(embedded, (0, width))], dim=-1)
