"""A model that says which labels a clinical note has, as clinfuse trained it.

`clinfuse export` puts a copy of this file beside the weights, for transformers to find it there; it
needs torch, transformers, and the files that lie beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tasks.model.adapters.network import Network
from tasks.model.bases.chunks import RowsRead
from tasks.model.bases.words import joined
from tasks.model.heads.adapter import AdapterHead
from tasks.model.heads.gated_residual import GatedResidualHead
from tasks.model.heads.head import Head
from tasks.model.heads.label_attention import LabelAttentionHead
from tasks.model.heads.lightweight import LightweightHead
from tasks.model.heads.linear import LinearHead
from tasks.model.heads.scaling import SCALINGS
from tasks.model.heads.tiny_attention import TinyAttentionHead

HEADS: dict[str, Callable[..., Head]] = {
    "label_attention": LabelAttentionHead,
    "linear": LinearHead,
    "adapter": AdapterHead,
    "lightweight": LightweightHead,
    "tiny_attention": TinyAttentionHead,
    "gated_residual": GatedResidualHead,
}


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
        scaling: str = "none",
        head: str = "label_attention",
        settings: Mapping[str, Any] | None = None,
        behind: Sequence[tuple[str, str]] = (),
        bottleneck: int = 0,
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
            scaling: what is done to a state before the head reads it.
            head: one of HEADS.
            settings: what else it is made from.
            behind: the layers of the trunk, each named in two parts, behind which a small network
                stands.
            bottleneck: the width of these.
            longest: the tokens that the trunk reads at once; None: any number.
            max_tokens: a note's tokens beyond this many are not read; None: all are.
            ending: the tokens that end every text; they stay the last where it is cut.
        """
        self.trunk = trunk or {}
        self.causal = causal
        self.left_out = list(left_out)
        self.words = words
        self.width = width
        self.scaling = scaling
        self.head = head
        self.settings = dict(settings or {})
        self.behind = list(behind)
        self.bottleneck = bottleneck
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
            for path, end in config.behind:
                hidden = trunk.config.get_text_config().hidden_size
                Network(hidden, config.bottleneck).stand_behind(trunk, path, end)
        self.trunk = trunk
        labels = len(config.id2label or ())
        self.scaling = SCALINGS[config.scaling](config.width, 1 + config.words)
        self.head = HEADS[config.head](config.width, labels, **config.settings)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits [texts, labels] of token ids [texts, tokens], padded on whichever side."""
        present = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ids, present = self._laid_out(input_ids, present.bool())
        states = self.scaling(self._states(ids, present).float())
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
        longest, looking_back = self.config.longest, self.config.causal
        rows = RowsRead.of(ids, present, longest, looking_back=looking_back)
        states = rows.join(self._called(rows.input_ids, rows.present))
        return joined(self.trunk, ids, states) if self.config.words else states

    def _called(self, ids: Tensor, present: Tensor) -> Tensor:
        # of a decoder, padding on the right reaches no token
        more = {"use_cache": False} if self.config.causal else {"attention_mask": present.long()}
        states: Tensor = self.trunk(input_ids=ids, **more).last_hidden_state
        return states
