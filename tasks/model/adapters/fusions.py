"""How an adapter that was made before takes part in a member, and which go with which, as a table.

frozen     W + w dW(made before) + dW(task)        the update is a fixed part of the model
trained    the same, and a copy of it learns on
gated      the same, frozen, but w is learned, one for each layer
merged     (W + w dW(made before)) + dW(task)      added into the weights before all else
continued  W + dW(made before), learning on        it is what the task adapter starts as
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.errors import ConfigError
from tasks.model.adapters.allows import ALLOWS, OF_TASKS
from tasks.model.adapters.methods import AnyMethod, Lora, Pissa
from tasks.variants import Merge

Fusion = Literal["frozen", "trained", "gated", "merged", "continued"]
_LEARNS_ON = ("lora", "ia3", "vera")  # families; AdaLoRA's ranks have been given out


@dataclass(frozen=True)
class Verdict:
    """Whether a fusion of two methods works."""

    refused: str = ""  # why, as the end of a sentence; empty: it is allowed
    exact: bool = True  # whether the order of the sum makes no difference


def verdict(domain: str, fusion: Fusion, task: str | None) -> Verdict:
    """Whether what a method of pretraining makes can take part so, beside a task's method.

    Args:
        domain: the kind of the method of pretraining.
        task: the kind of the task adapter's; None: there is none, the trunk is frozen.
    """
    family = ALLOWS[domain].family
    if domain == "full" and fusion == "merged":
        return Verdict()
    if domain == "full":
        return Verdict("makes a whole model, of which a sum can only begin (fusion: merged)")
    if family is None:
        return Verdict("makes no update of weights, so that it cannot be added to them")
    if task is None and fusion not in ("frozen", "merged"):
        return Verdict("is to learn on, or its weight is, but finetune.adapter is null")
    match fusion:
        case "merged":
            return Verdict()
        case "continued" if family not in _LEARNS_ON:
            return Verdict("cannot learn on: its ranks have been given out")
        case "continued":
            return Verdict()
        case "gated" if not ALLOWS[domain].weighted or family != "lora":
            return Verdict("has no scale that could be learned")
    if task is None:
        return Verdict()
    beside = (ALLOWS | OF_TASKS)[task]
    if not beside.beside and beside.family != "lora":
        return Verdict(f"stands beside {task}, and PEFT puts no other adapter beside that")
    if not beside.beside and beside.family != family:
        return Verdict(f"stands beside {task}, and PEFT adds no updates of such different kinds")
    return Verdict(exact=not order_matters((domain, task)))


def order_matters(kinds: Collection[str]) -> bool:
    """Whether another order changes the sum of updates by methods of these kinds.

    PEFT's DoRA scales what was added before it, too, by a norm of the base's weights alone.
    """
    added = [kind for kind in kinds if not (ALLOWS | OF_TASKS)[kind].beside]
    return "dora" in added and len(added) > 1


def _together(one: str, other: str) -> Verdict:
    """Whether what two methods of pretraining make can be summands of one member."""
    if ALLOWS[one].family != ALLOWS[other].family:
        return Verdict(f"stands beside {other}, and PEFT adds no updates of such different kinds")
    return Verdict(exact=not order_matters((one, other)))


def check_fusion(
    key: str,
    methods: Mapping[str, str],
    fusion: Fusion,
    weights: Sequence[float],
    member: str,
    *,
    quantized: bool = False,
) -> None:
    """Raise ConfigError where what a method makes cannot be a summand of a member.

    Args:
        key: of the method, e.g. "pretrain.adapter".
        methods: the kinds of those that act beside each other in the member, by their keys: its
            own, those of other summands, and the task adapter's.
        weights: how many times the summand may be added.
        quantized: whether the base's weights are.
    """
    domain = methods[key]
    which = f"{key} is {domain}, which as a summand of the member '{member}'"
    out = (
        "take lora, dora or pissa for both, or leave it out of the summands "
        "(finetune.members=[unfused])"
    )
    others = {name: kind for name, kind in methods.items() if name != key}
    task = others.pop("finetune.adapter", None)
    found = [verdict(domain, fusion, task)]
    if fusion in ("frozen", "trained", "gated"):
        found += [_together(domain, kind) for kind in others.values()]
    for each in found:
        if each.refused:
            raise ConfigError(f"{which} {each.refused}; {out}")
    if fusion == "merged" and quantized:
        raise ConfigError(
            f"{which} is to be merged, which would round it to the base's few bits; set fusion: "
            "frozen, or leave out pretrain.base.quantization"
        )
    whole = fusion == "continued" or not ALLOWS[domain].weighted
    if whole and set(weights) - {0, 1}:
        raise ConfigError(
            f"{which} can be added once or not at all, but it may be added with other weights "
            "than 0 and 1; set weight: 1 for it"
        )


def check_merges(merges: Collection[Merge], methods: Mapping[str, AnyMethod], member: str) -> None:
    """Raise ConfigError where the adapters of a trained member cannot be made into one.

    Args:
        methods: those of all of them, by their keys.
    """
    if not merges:
        return
    ranks: dict[str, int] = {}
    for key, method in methods.items():
        match method:
            case Pissa(rank=rank):
                ranks[key] = 2 * rank  # as it is saved
            case Lora(kind="lora", rank=rank):
                ranks[key] = rank
            case _:
                raise ConfigError(
                    f"the member '{member}' is to be merged after training, and {key} is "
                    f"{method.kind}, which PEFT makes no part of one adapter; take lora, or leave "
                    "out its merges"
                )
    if {"linear", "ties"} & set(merges) and len(set(ranks.values())) > 1:
        given = ", ".join(f"{key} {rank}" for key, rank in ranks.items())
        raise ConfigError(
            f"the member '{member}' is to be merged by linear or ties, which add factors, and the "
            f"adapters' ranks differ ({given}); give them one rank, or merge by cat or svd"
        )
