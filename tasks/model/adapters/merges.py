"""The adapters of a trained model as one: exact, or smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from tasks.errors import ModelError
from tasks.model.adapters.parts import activate
from tasks.variants import Merge

DENSITY = 0.5  # share of a factor's entries that `ties` keeps: the middle of what its paper tries


@contextmanager
def as_one(model: PeftModel, adapters: Sequence[str], by: Merge) -> Iterator[None]:
    """Within it one adapter takes part, made of these; nothing is trained, within it and after it.

    Args:
        adapters: their names, the task adapter's last. Each counts as often as its scale says.

    Raises ModelError where their ranks differ and the merge adds factors.
    """
    ranks = [model.peft_config[name].r for name in adapters]  # type: ignore[attr-defined]
    if by in ("linear", "ties") and len(set(ranks)) > 1:
        raise ModelError(
            f"adapters of ranks {ranks} cannot be merged by {by}, which adds their factors; give "
            "them one rank, or merge by cat or svd"
        )
    settings = {"svd": {"svd_rank": ranks[-1]}, "ties": {"density": DENSITY}}.get(by, {})
    name = f"merged-by-{by}"
    model.add_weighted_adapter(
        list(adapters), [1.0] * len(adapters), name, combination_type=by, **settings
    )
    for layer in model.modules():
        # PEFT copies the first adapter's configuration, and with it a scale by the root of the rank
        scales: dict[str, float] = getattr(layer, "scaling", {})
        if isinstance(layer, BaseTunerLayer) and name in scales:
            scales[name] = 1.0
    activate(model, [name])
    try:
        yield
    finally:
        activate(model, adapters)
        model.delete_adapter(name)
