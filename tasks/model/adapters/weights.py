"""Weights of the base itself that a task changes: all of them, or its vectors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.model.adapters.methods import BaseName, BitFit, Full
from tasks.model.adapters.parts import names_in, trained_tensors
from tasks.model.bases.layers import depths_of, layers_that_learn

WEIGHTS = "weights.safetensors"


class OwnWeights:
    """Some of a base's own weights, as the base calls them where no adapter is on it."""

    adapters: tuple[str, ...] = ()  # of PEFT: none
    penalty = None
    watchers = ()

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.before: dict[str, Tensor] = {}  # what the base had there, where that is kept

    @classmethod
    def of(cls, base: PreTrainedModel, method: Full | BitFit, freeze_below: int = 0) -> OwnWeights:
        """Those that the method trains, of a base on which there is no adapter yet.

        Args:
            freeze_below: so many of the lower layers, and the embedding, are left as they are.
        """
        vectors_only = isinstance(method, BitFit)
        named = dict(base.named_parameters())
        if freeze_below:
            learning = len(layers_that_learn(base, freeze_below)[1])
            depths = depths_of(base, "finetune.freeze_below")
            named = {name: p for name, p in named.items() if depths[id(p)] < learning}
        return cls({name: p for name, p in named.items() if p.dim() == 1 or not vectors_only})

    @classmethod
    @torch.no_grad()
    def read(cls, base: PreTrainedModel, folder: Path, *, keep: bool) -> OwnWeights:
        """Put the weights of a directory into a base on which there is no adapter yet.

        Args:
            keep: the base's own weights too, so that the others can be set aside.

        Raises ModelError where they do not fit the base.
        """
        try:
            tensors = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{folder / WEIGHTS} is not readable ({type(error).__name__}); run finetune anew"
            ) from None
        named = dict(base.named_parameters())
        unfit = [n for n, t in tensors.items() if n not in named or named[n].shape != t.shape]
        if unfit:
            raise ModelError(
                f"{folder}: {len(unfit)} of the weights do not fit the base, e.g. {unfit[0]}; use "
                "the base that they were trained of"
            )
        weights = cls({name: named[name] for name in tensors})
        for name, tensor in tensors.items():
            if keep:
                weights.before[name] = named[name].detach().clone()
            named[name].copy_(tensor)
        return weights

    def learn(self) -> None:
        """Let them be trained."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def names_in(self, model: nn.Module) -> list[str]:
        """Their names in a model that the base is part of, with adapters on it or without."""
        return names_in(model, self.parameters.values())

    def write(
        self,
        path: Path,
        model: PreTrainedModel | PeftModel,
        state: Mapping[str, Tensor],
        base: BaseName,
    ) -> None:
        """Write them in the type in which the model holds them.

        Args:
            state: the trained parameters, as the model calls them.

        Raises ModelError where a tensor is not finite.
        """
        tensors = {
            name: tensor.to(self.parameters[name].dtype)
            for name, tensor in trained_tensors(model, self.parameters, state).items()
        }
        path.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})

    @contextmanager
    def set_aside(self, model: PreTrainedModel | PeftModel) -> Iterator[None]:
        """Within it the weights are those of the base. ModelError: they were not kept."""
        if not self.before:
            raise ModelError("the weights of the base were not kept; load the member with them")
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            other = self.before[name].to(parameter.device)
            self.before[name], parameter.data = parameter.data, other
