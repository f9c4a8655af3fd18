"""An encoder with an output layer, which says what masked tokens were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from tasks.errors import ModelError
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.files import has_masked_head
from tasks.model.bases.weights import read_weights, refuse_missing

OUTPUT = "masked_output.safetensors"  # the file of a NewOutput, without the words it shares
_SHIFT = 4.0  # GELU(x + 4) is x + 4 but for 0.1%, as long as x is above -1


def load_masked(
    folder: Path, dtype: torch.dtype = torch.float32, deepspeed: Mapping[str, Any] | None = None
) -> tuple[PreTrainedModel, nn.Module]:
    """Load an encoder, frozen, and an output layer: token states [tokens, hidden] to logits.

    The layer is the base's own, frozen, where the directory has one; else a new one, to be trained.
    Adapters go on the encoder, whose layers have the names that they have without any head.

    Raises ModelError where the directory holds no encoder, or not all of its weights.
    """
    if not has_masked_head(folder):
        encoder = Encoder.load(folder, dtype, deepspeed).model
        return encoder, NewOutput(encoder.get_input_embeddings()).to(dtype)
    model, missing = read_weights(
        AutoModelForMaskedLM, folder, dtype, deepspeed, "a masked language model"
    )
    refuse_missing(model, folder, missing)
    inner = model.base_model
    assert isinstance(inner, PreTrainedModel)
    setattr(model, model.base_model_prefix, _GivenStates())
    return inner, OwnOutput(model)


class OwnOutput(nn.Module):
    """The output layer that the base came with, whatever its architecture calls its parts."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Of a masked language model whose encoder was taken out."""
        super().__init__()
        self.model = model

    def forward(self, states: Tensor) -> Tensor:
        """Logits [tokens, vocabulary] of token states [tokens, hidden]."""
        logits: Tensor = self.model(inputs_embeds=states[None]).logits[0]
        return logits


class _GivenStates(nn.Module):
    """In the encoder's place: its states are those that are given."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class NewOutput(nn.Module):
    """BERT's output layer for a base that has none: it begins near the identity.

    The words are read off by the base's own word embeddings, which stay as they are.
    """

    def __init__(self, embeddings: nn.Module) -> None:
        """Of the base's word embeddings; ModelError where the states are of another width."""
        super().__init__()
        words = embeddings.weight
        assert isinstance(words, nn.Parameter)
        vocabulary, width = getattr(words, "ds_shape", words.shape)
        self.dense = nn.Linear(width, width)
        nn.init.eye_(self.dense.weight)
        nn.init.constant_(self.dense.bias, _SHIFT)
        self.norm = nn.LayerNorm(width)  # takes the shift out again
        self.words = nn.Linear(width, vocabulary)
        self.words.weight = words
        nn.init.zeros_(self.words.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Logits [tokens, vocabulary] of token states [tokens, hidden]."""
        width = self.dense.in_features
        if states.shape[-1] != width:
            raise ModelError(
                f"the base's word embeddings are {width} wide and its states {states.shape[-1]}, "
                "so that it cannot be given an output layer; take a base saved with its own "
                "(...ForMaskedLM), or leave the adapter that is to say words out of the members' "
                "summands"
            )
        logits: Tensor = self.words(self.norm(functional.gelu(self.dense(states))))
        return logits

    @property
    def own(self) -> list[str]:
        """The names of the parameters that are not the base's."""
        return [name for name, _ in self.named_parameters() if name != "words.weight"]

    def write(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write what was trained as OUTPUT into a directory.

        Args:
            state: its own parameters by name, whole.

        Raises ModelError where a tensor is not finite.
        """
        tensors = {name: state[name].detach().cpu().contiguous() for name in self.own}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ModelError(
                "the output layer holds NaN or infinite values; lower the learning rate"
            )
        save_file(tensors, folder / OUTPUT)

    def read(self, folder: Path) -> None:
        """Take over what `write` wrote there. Raises ModelError where it is not of this base."""
        try:
            tensors = load_file(folder / OUTPUT)
            wrong = self.load_state_dict(tensors, strict=False)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{folder / OUTPUT} is no output layer of this base ({type(error).__name__}); run "
                "pretrain anew"
            ) from None
        if wrong.unexpected_keys or wrong.missing_keys != ["words.weight"]:
            raise ModelError(f"{folder / OUTPUT} is of another version; run pretrain anew")
