"""A model that says which labels a clinical note has, as clinfuse trained it.

`clinfuse export` puts a copy of this file beside the weights, for transformers to find it there; it
needs torch, transformers, and the files that lie beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tasks.model.bases.chunks import Chunks
from tasks.model.bases.words import joined


class ClinfuseConfig(PretrainedConfig):
    """What the model is made from."""

    model_type = "clinfuse"

    def __init__(
        self,
        trunk: dict[str, Any] | None = None,
        causal: bool = True,
        left_out: Sequence[str] = (),
        words: bool = False,
        width: int = 0,
        head: str = "label_attention",
        pool: str = "last",
        longest: int | None = None,
        max_tokens: int | None = None,
        ending: int = 0,
        **others: Any,
    ) -> None:
        """Of these parts.

        Args:
            trunk: the configuration of what gives the token states.
            causal: whether a token of it sees those before it only.
            left_out: parts of the trunk that are not used.
            words: whether each token's own embedding is joined to its state.
            width: of a token's state, with what is joined to it.
            head: "label_attention" or "linear".
            pool: of a linear head: the state that it reads, "last", "mean" or "max".
            longest: the tokens that the trunk reads at once; None: any number.
            max_tokens: a note's tokens beyond this many are not read; None: all are.
            ending: the tokens that end every text; they stay the last where it is cut.
        """
        self.trunk = trunk or {}
        self.causal = causal
        self.left_out = list(left_out)
        self.words = words
        self.width = width
        self.head = head
        self.pool = pool
        self.longest = longest
        self.max_tokens = max_tokens
        self.ending = ending
        super().__init__(**others)


class ClinfuseForSequenceClassification(PreTrainedModel):
    """A pretrained trunk, and a head with a logit for each label."""

    config_class = ClinfuseConfig
    base_model_prefix = "trunk"
    supports_gradient_checkpointing = False
    _supports_sdpa = True

    def __init__(self, config: ClinfuseConfig, trunk: PreTrainedModel | None = None) -> None:
        """Of a trunk that is there already, or a new one whose weights are still to be loaded."""
        super().__init__(config)
        if trunk is None:
            described = dict(config.trunk)
            trunk = AutoModel.from_config(
                AutoConfig.for_model(described.pop("model_type"), **described)
            )
            for name in config.left_out:
                parent, _, part = name.rpartition(".")
                setattr(trunk.get_submodule(parent), part, nn.Identity())
            if getattr(trunk, "pooler", None) is not None:
                trunk.pooler = None
        self.trunk = trunk
        labels = len(config.id2label or ())
        attends = config.head == "label_attention"
        self.head = (
            LabelAttention(config.width, labels)
            if attends
            else Pooled(config.width, labels, config.pool)
        )
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits [texts, labels] of token ids [texts, tokens], padded on whichever side."""
        present = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ids, present = self._laid_out(input_ids, present.bool())
        states = self._states(ids, present).float()
        return SequenceClassifierOutput(logits=self.head(states, present))

    def _laid_out(self, ids: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The texts, the padding on their right, cut where they are longer than what is read.

        A text without any token is one token of padding.
        """
        if not ids.shape[1]:
            ids, present = F.pad(ids, (0, 1)), F.pad(present, (0, 1))
        order = torch.argsort(~present, dim=1, stable=True)
        ids, lengths = ids.gather(1, order), present.sum(dim=1).clamp(min=1)
        pad, columns = self.config.pad_token_id, torch.arange(ids.shape[1], device=ids.device)
        ids = torch.where(columns < present.sum(dim=1, keepdim=True), ids, pad)
        most, ending = self.config.max_tokens, self.config.ending
        if most is not None:
            for row in (lengths > most).nonzero()[:, 0].tolist() if ending else ():
                length = int(lengths[row])
                ids[row, most - ending : most] = ids[row, length - ending : length].clone()
            ids, lengths = ids[:, :most], lengths.clamp(max=most)
        ids = ids[:, : int(lengths.max())]
        return ids, torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]

    def _states(self, ids: Tensor, present: Tensor) -> Tensor:
        """Token states [texts, tokens, width]."""
        if self.config.causal:  # padding on the right reaches no token
            states = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        elif self.config.longest is None or ids.shape[1] <= self.config.longest:
            states = self._encoded(ids, present)
        else:
            chunks = Chunks.of(present.sum(dim=1).cpu().numpy(), self.config.longest)
            states = chunks.join(self._encoded(chunks.cut(ids), chunks.present.to(present.device)))
        return joined(self.trunk, ids, states) if self.config.words else states

    def _encoded(self, ids: Tensor, present: Tensor) -> Tensor:
        encoded: Tensor = self.trunk(
            input_ids=ids, attention_mask=present.to(torch.long)
        ).last_hidden_state
        return encoded


class LabelAttention(nn.Module):
    """A label's logit is w . sum_t a_t h_t + b, a_t the softmax over tokens of q . h_t."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(labels, width))
        self.weight = nn.Parameter(torch.zeros(labels, width))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        both = F.linear(states, torch.cat([self.query, self.weight]).float())
        scores, votes = both.chunk(2, dim=-1)  # [texts, tokens, labels]
        shares = scores.masked_fill(~present[:, :, None], -math.inf).softmax(dim=1)
        return (shares * votes).sum(dim=1) + self.bias.float()


class Pooled(nn.Module):
    """A label's logit is w . h + b, h the token states pooled: their last, mean or max."""

    def __init__(self, width: int, labels: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        # before the maximum; into the weights of the others it is multiplied
        self.scaling = nn.Linear(width, width) if pool == "max" else None
        self.output = nn.Linear(width, labels)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        outside = ~present[:, :, None]
        if self.scaling is not None:
            states = F.linear(states, self.scaling.weight.float(), self.scaling.bias.float())
            pooled = states.masked_fill(outside, -math.inf).amax(dim=1)
        elif self.pool == "mean":
            pooled = states.masked_fill(outside, 0).sum(dim=1) / present.sum(dim=1, keepdim=True)
        else:
            rows = torch.arange(len(states), device=states.device)
            pooled = states[rows, present.sum(dim=1) - 1]
        return F.linear(pooled, self.output.weight.float(), self.output.bias.float())
