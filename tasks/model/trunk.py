"""The adapters beside which a task is learned, on their base: W + s dW(clinical) + ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tasks.model.adapters.build import add_saved_adapter
from tasks.model.adapters.files import CONFIG
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.gates import gate
from tasks.model.adapters.parts import activate, weigh
from tasks.model.adapters.whole import Whole
from tasks.model.bases.load import Base


@dataclass(frozen=True)
class Summand:
    """An adapter that was made before, beside which the task adapter learns."""

    name: str
    path: Path  # its PEFT directory
    fusion: Fusion = "frozen"
    weight: float = 1.0  # its update is added so many times; where that is learned, at the start


def summands_of(
    paths: Mapping[str, Path], weights: Mapping[str, float], fusions: Mapping[str, Fusion]
) -> list[Summand]:
    """The summands of these directories, by name; one that has no weight is added once.

    Args:
        fusions: how each takes part; one that is not there is frozen.
    """
    return [
        Summand(name, path, fusions.get(name, "frozen"), weights.get(name, 1.0))
        for name, path in paths.items()
    ]


def merge_in(model: PreTrainedModel, summands: Sequence[Summand]) -> None:
    """Add the updates of summands that are merged into the weights of a bare model, in place.

    Raises ModelError where one does not fit.
    """
    for summand in summands:
        if not (summand.path / CONFIG).is_file():
            Whole(model, summand.path)  # a model all of whose weights were trained
            continue
        peft = add_saved_adapter(model, summand.path, summand.name)
        weigh(peft, summand.name, summand.weight)
        peft.merge_and_unload(adapter_names=[summand.name])


def add_summands(
    model: PreTrainedModel | PeftModel, summands: Sequence[Summand]
) -> PeftModel | None:
    """Put the summands on a model in their order, each at its weight; None: there was none.

    Raises ModelError where one does not fit.
    """
    peft = model if isinstance(model, PeftModel) else None
    for summand in summands:
        on = model if peft is None else peft
        trained = summand.fusion == "trained"
        peft = add_saved_adapter(on, summand.path, summand.name, trained=trained)
        weigh(peft, summand.name, summand.weight)
        if summand.fusion == "gated":
            gate(peft, summand.name)
    return peft


def freeze(base: Base, summands: Sequence[Summand], *, merge: bool = False) -> Base:
    """The base as a frozen trunk: with the summands, without anything to train, evaluating.

    Args:
        merge: add the updates into the weights, which must be float32: then they cost nothing when
            the trunk is called.
    """
    merge_in(base.model, [summand for summand in summands if summand.fusion == "merged"])
    others = [summand for summand in summands if summand.fusion != "merged"]
    peft = add_summands(base.model, others)
    if peft is not None:
        names = [summand.name for summand in others]
        activate(peft, names)
        if merge:
            peft.base_model.merge_adapter(names)  # type: ignore[operator]
    base.model.requires_grad_(False)
    base.model.train(False)
    return base


def as_kept(states: Tensor) -> Tensor:
    """States of any type as they are kept: in half precision, and none of them infinite."""
    largest = torch.finfo(torch.float16).max
    return states.float().clamp(-largest, largest).to(torch.float16)
