"""The adapters beside which a task is learned, on their base: W + s dW(clinical) + ..."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from tasks.model.adapters.build import add_saved_adapter
from tasks.model.adapters.parts import activate, weigh
from tasks.model.bases.load import Base


@dataclass(frozen=True)
class Summand:
    """An adapter that was made before, beside which the task adapter learns."""

    name: str
    path: Path  # its PEFT directory
    trained: bool = False  # whether it goes on learning (a copy), or is a fixed part of the model
    weight: float = 1.0  # its update is added so many times


def summands_of(
    paths: Mapping[str, Path], weights: Mapping[str, float], trained: Collection[str] = ()
) -> list[Summand]:
    """The summands of these directories, by name; one that has no weight is added once."""
    return [
        Summand(name, path, name in trained, weights.get(name, 1.0)) for name, path in paths.items()
    ]


def add_summands(
    model: PreTrainedModel | PeftModel, summands: Sequence[Summand]
) -> PeftModel | None:
    """Put the summands on a model in their order, each at its weight; None: there was none.

    Raises ModelError where one does not fit.
    """
    peft = model if isinstance(model, PeftModel) else None
    for summand in summands:
        on = model if peft is None else peft
        peft = add_saved_adapter(on, summand.path, summand.name, trained=summand.trained)
        weigh(peft, summand.name, summand.weight)
    return peft


def freeze(base: Base, summands: Sequence[Summand], *, merge: bool = False) -> Base:
    """The base as a frozen trunk: with the summands, without anything to train, evaluating.

    Args:
        merge: add the updates into the weights, which must be float32: then they cost nothing when
            the trunk is called.
    """
    peft = add_summands(base.model, summands)
    if peft is not None:
        names = [summand.name for summand in summands]
        activate(peft, names)
        if merge:
            peft.base_model.merge_adapter(names)  # type: ignore[operator]
    base.model.requires_grad_(False)
    base.model.train(False)
    return base
