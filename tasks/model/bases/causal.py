"""A causal language model as a base: LLaMA and its like, with or without the output layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tasks.errors import ModelError
from tasks.model.bases.chunks import RowsRead
from tasks.model.bases.kernels import attends_by_kernels, documents_of
from tasks.model.bases.lower import LowerLayers, token_states
from tasks.model.bases.weights import read_weights, refuse_missing
from tasks.model.bases.words import joined


@dataclass(frozen=True)
class Causal:
    """A causal language model without its output layer.

    It stays a causal language model, so that its layers have the names that they had in
    pretraining, whatever the architecture calls its parts.
    """

    model: PreTrainedModel
    words: bool = False  # whether the tokens' own embeddings are joined to their states
    chunk: int | None = None  # tokens that are read at once; None: any number
    lower: LowerLayers | None = None  # those that can be passed over

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, deepspeed: Mapping[str, Any] | None) -> Causal:
        """Load it from a Hugging Face directory; raises as `load_causal`."""
        return cls(take_head_off(load_causal(folder, dtype, deepspeed)))

    def states(self, input_ids: Tensor, present: Tensor, leaving: Tensor | None = None) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        The mask, `present`, is not handed on: attention looks back only, so that padding on the
        right reaches no token (`trial.py` tries it), and torch's faster causal kernel is used.
        Texts longer than `chunk` are read in chunks (`chunks.py`).

        Args:
            leaving: [tokens of all rows, hidden], what leaves the lower layers; None: they are
                computed.
        """
        rows = self.rows(input_ids, present)
        states = token_states(rows, self.called, self.lower, leaving)
        return joined(self.model, input_ids, states) if self.words else states

    def rows(self, input_ids: Tensor, present: Tensor) -> RowsRead:
        """The rows that are read of some texts."""
        return RowsRead.of(input_ids, present, self.chunk, looking_back=True)

    def called(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """The states [rows, length, hidden] of such rows."""
        states: Tensor = trunk(self.model)(input_ids=input_ids, use_cache=False).last_hidden_state
        return states


def load_causal(
    folder: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load a causal language model from a Hugging Face directory, frozen, its cache off.

    Raises ModelError where the directory holds no such model, or not all of its weights.
    """
    model, missing = read_weights(
        AutoModelForCausalLM, folder, dtype, deepspeed, "a causal language model"
    )
    refuse_missing(model, folder, missing)
    return model


def packed_logits(model: nn.Module, input_ids: Tensor, position_ids: Tensor) -> Tensor:
    """Logits [rows, tokens, vocabulary] of rows in which documents are packed, each for itself.

    Args:
        model, input_ids, position_ids: as `call_packed` takes them.
    """
    logits = call_packed(model, input_ids, position_ids)
    return logits.reshape(len(input_ids), -1, logits.shape[-1])


def call_packed(model: nn.Module, input_ids: Tensor, position_ids: Tensor) -> Tensor:
    """What the output layer gives for rows in which documents are packed, each for itself.

    Without an attention mask and without a cache, transformers reads the documents' borders from
    the positions, which start again at 0, and makes a block mask of them. A GPU's kernels are told
    the borders (`kernels.py`).

    Args:
        model: a causal language model, or what wraps it (adapters, DeepSpeed).
        input_ids, position_ids: [rows, tokens].
    """
    borders = {}
    if attends_by_kernels(model):
        input_ids, position_ids = input_ids.reshape(1, -1), position_ids.reshape(1, -1)
        borders = documents_of(position_ids)
    given: Tensor = model(
        input_ids=input_ids, position_ids=position_ids, use_cache=False, **borders
    ).logits
    return given


def take_head_off(model: PreTrainedModel) -> PreTrainedModel:
    """Put nothing where the model's output layer is, in place; return the model."""
    model.set_submodule(output_layer(model), nn.Identity())
    return model


def output_layer(model: PreTrainedModel) -> str:
    """The name of the output layer, or of what is in its place. ModelError: there is none."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    for name, module in model.named_modules():
        if head is not None and module is head:
            return name
    raise ModelError(f"a {type(model).__name__} has no output layer; take another base")


def trunk(model: PreTrainedModel) -> nn.Module:
    """What lies before the output layer: the part that holds the input embeddings.

    Called with input_ids, it gives `last_hidden_state`. ModelError: the model has no such part.
    """
    embeddings = model.get_input_embeddings()
    for part in model.children():
        if any(module is embeddings for module in part.modules()):
            return part
    raise ModelError(
        f"a {type(model).__name__} has no part that gives token states; take another base"
    )


def untie(model: PreTrainedModel) -> PreTrainedModel:
    """Give the output layer weights of its own, in place, equal to those that it shared.

    An adapter on a layer whose weights are shared cannot be merged into them: it would change the
    other layer, too.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    return model
