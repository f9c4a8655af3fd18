"""A model all of whose weights were trained: written as a model, read back beside its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ModelError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_whole(path: Path, model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """Write a Hugging Face directory in the type in which the base was loaded.

    Args:
        state: the trained parameters by name, those that are shared by one name only.

    Raises ModelError where a tensor is not finite.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError("the model holds NaN or infinite values; lower the learning rate")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        tensors[name] = state[names[id(parameter)]].to(model.dtype)
    model.save_pretrained(path, state_dict=tensors, max_shard_size="1TB")


class Whole(nn.Module):
    """A base with other weights, which can be set aside."""

    def __init__(self, base: PreTrainedModel, folder: Path) -> None:
        """Of a base, and the directory of the same model with weights that were trained.

        Raises ModelError where they do not fit the base.
        """
        super().__init__()
        self.base = base
        try:
            trained = type(base).from_pretrained(folder, dtype=base.dtype, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{folder} is not a readable model ({type(error).__name__}); it needs {CONFIG} and "
                f"{WEIGHTS}"
            ) from None
        tensors = dict(trained.named_parameters())
        self.others: dict[str, Tensor] = {}
        for name, parameter in base.named_parameters():
            if name not in tensors or tensors[name].shape != parameter.shape:
                raise ModelError(f"{folder} is not of this base: {name} does not fit it")
            self.others[name] = tensors[name].data
        self._swap()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base(*args, **kwargs)

    def get_base_model(self) -> PreTrainedModel:
        return self.base

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within it the weights are those of the base."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.base.named_parameters():
            other = self.others[name].to(parameter.device)
            self.others[name], parameter.data = parameter.data, other
