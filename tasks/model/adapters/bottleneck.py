"""Small networks behind sublayers of a frozen base (Houlsby et al. 2019, Pfeiffer et al. 2021).

A sublayer's output y becomes y + U gelu(D y), before it is added to what went into the sublayer;
U is zero at first, so that nothing changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.errors import ConfigError, ModelError
from tasks.model.adapters.methods import BaseName, Bottleneck
from tasks.model.adapters.network import Network
from tasks.model.adapters.parts import names_in, trained_tensors
from tasks.model.bases.config import Group
from tasks.model.bases.groups import group_of
from tasks.model.bases.layers import layers_that_learn, stack_of

WEIGHTS, CONFIG = "bottleneck.safetensors", "bottleneck.json"

Place = tuple[str, str]  # a transformer layer, and the linear layer within it that ends a sublayer


def places_of(
    base: PreTrainedModel, method: Bottleneck, key: str, freeze_below: int = 0
) -> list[Place]:
    """Where the networks stand on a base on which there is no adapter yet.

    Behind the last linear layer of a sublayer that is as wide as the base's states. Raises
    ConfigError where there is none.

    Args:
        key: the method's configuration key, for errors.
        freeze_below: in so many of the lower layers stands none.
    """
    hidden, groups = _width(base), _groups(method)
    stack, layers = stack_of(base, key)
    places = []
    for index in layers_that_learn(base, freeze_below)[1] if freeze_below else range(len(layers)):
        layer = layers[index]
        path = f"{stack}.{index}"
        wide = [
            name
            for name, part in layer.named_modules()
            if isinstance(part, nn.Linear | Conv1D) and _outputs(part) == hidden
        ]
        for group in groups:
            ends = [name for name in wide if group_of(f"{path}.{name}") == group]
            if ends:
                places.append((path, ends[-1]))
    if not places:
        raise ConfigError(
            f"{key} is bottleneck, but no layer of a {type(base).__name__} can be told to end an "
            f"{' or '.join(groups)} sublayer; take another method"
        )
    return places


class Bottlenecks:
    """The networks on a base."""

    adapters: tuple[str, ...] = ()  # of PEFT: none
    penalty = None
    watchers = ()

    def __init__(self, base: PreTrainedModel, places: Sequence[Place], method: Bottleneck) -> None:
        """Put new ones on a base, which may have adapters on it by now."""
        self.method, self.places = method, tuple(places)
        self.width = max(1, _width(base) // method.reduction)  # of a network, inside
        self.networks: dict[str, Network] = {}
        for path, end in places:
            network = Network(_width(base), self.width)
            network.stand_behind(base, path, end)
            self.networks[f"{path}.{end}"] = network

    @classmethod
    @torch.no_grad()
    def read(cls, base: PreTrainedModel, folder: Path) -> Bottlenecks:
        """Put those of a directory on a base. ModelError: they do not fit it."""
        try:
            described = json.loads((folder / CONFIG).read_text())
            method = Bottleneck.model_validate(described["method"])
            places = [(path, end) for path, end in described["behind"]]
            tensors = load_file(folder / WEIGHTS)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise ModelError(
                f"{folder} holds no readable bottlenecks ({type(error).__name__}); it needs "
                f"{CONFIG} and {WEIGHTS}"
            ) from None
        there = {name for name, _ in base.named_modules()}
        networks = cls(base, [place for place in places if ".".join(place) in there], method)
        named = networks.parameters
        if {n: t.shape for n, t in tensors.items()} != {n: p.shape for n, p in named.items()}:
            raise ModelError(
                f"{folder}: the bottlenecks do not fit the base; use the one they were trained on"
            )
        for name, parameter in named.items():
            parameter.copy_(tensors[name])
        return networks

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of all networks, named after the layers behind which they stand."""
        return {
            f"{place}.{name}": parameter
            for place, network in sorted(self.networks.items())
            for name, parameter in network.named_parameters()
        }

    def learn(self) -> None:
        """Let them be trained."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def names_in(self, model: nn.Module) -> list[str]:
        """The names of their parameters in a model that the base is part of."""
        return names_in(model, self.parameters.values())

    def write(
        self,
        path: Path,
        model: PreTrainedModel | PeftModel,
        state: Mapping[str, Tensor],
        base: BaseName,
    ) -> None:
        """Write them; `state` is the trained parameters, as the model calls them.

        Raises ModelError where a tensor is not finite.
        """
        trained = trained_tensors(model, self.parameters, state)
        tensors = {name: tensor.float() for name, tensor in trained.items()}
        path.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
        places = [list(place) for place in self.places]
        described = {"method": self.method.model_dump(mode="json"), "behind": places}
        (path / CONFIG).write_text(json.dumps(described, indent=1) + "\n")

    @contextmanager
    def set_aside(self, model: PreTrainedModel | PeftModel) -> Iterator[None]:
        """Within it they change nothing."""
        for network in self.networks.values():
            network.is_on = False
        try:
            yield
        finally:
            for network in self.networks.values():
                network.is_on = True


def _groups(method: Bottleneck) -> tuple[Group, ...]:
    return ("attention", "ffn") if method.behind == "both" else ("ffn",)


def _width(base: PreTrainedModel) -> int:
    width: int = base.config.get_text_config().hidden_size
    return width


def _outputs(layer: nn.Linear | Conv1D) -> int:
    outputs: int = layer.out_features if isinstance(layer, nn.Linear) else layer.nf
    return outputs
