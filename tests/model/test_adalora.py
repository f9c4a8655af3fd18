"""AdaLoRA's ranks fall as PEFT's own allocator would have them fall."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from tasks.model.adapters.adalora import Ranks, rank_pattern
from tasks.model.adapters.adaptation import ADAPTER, Adaptation
from tasks.model.adapters.methods import AdaLora
from tests.pretrain.conftest import new_base

STEPS, FULL, FINAL = 20, 2, 6
METHOD = AdaLora(
    initial_rank=6,
    rank=3,
    alpha=8,
    every_steps=2,
    full_share=FULL / STEPS,
    final_share=FINAL / STEPS,
)


def new_model() -> tuple[PeftModel, Ranks]:
    torch.manual_seed(1)
    adaptation = Adaptation.of(new_base().requires_grad_(False), METHOD, STEPS, "targets")
    assert isinstance(adaptation.model, PeftModel)
    assert adaptation.ranks is not None
    return adaptation.model, adaptation.ranks


def values_of(model: PeftModel) -> dict[str, Tensor]:
    """The singular values by layer."""
    return {name: p.clone() for name, p in model.named_parameters() if ".lora_E." in name}


def test_ranks_fall_as_in_peft() -> None:
    ours, ranks = new_model()
    theirs, _ = new_model()
    config: Any = theirs.peft_config[ADAPTER]
    config.total_step, config.tinit, config.tfinal, config.deltaT = STEPS, FULL, FINAL, 2
    allocator: Any = theirs.base_model.rankallocator
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (mine, other)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True)
        if mine.requires_grad
    ]
    dropped = []
    for step in range(1, STEPS + 1):
        for mine, other in pairs:
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        if step - 1 < ranks.final_from:
            ranks.observe()
            allocator.update_ipt(theirs.base_model.model)
        with torch.no_grad():  # so that what was dropped may come back
            for mine, other in pairs:
                mine.add_(mine.grad, alpha=0.1)
                other.copy_(mine)
        budget = ranks.budget(step)
        expected, due = allocator.budget_schedule(step)
        assert (budget is not None) == (step <= STEPS - FINAL and due)
        if budget is not None:
            assert budget == expected
            ranks.choose(budget)
            ranks.drop()
            allocator.mask_to_budget(theirs.base_model.model, budget)
            assert all(
                torch.equal(mine, values_of(theirs)[name]) for name, mine in values_of(ours).items()
            )
            dropped.append(int(sum((v == 0).sum() for v in values_of(ours).values())))
    layers = len(ranks.layers)
    assert dropped == sorted(dropped)
    assert dropped[-1] == layers * (METHOD.initial_rank - METHOD.rank)
    stayed = rank_pattern(ours, ADAPTER, values_of(ours))
    assert len(stayed) == layers
    assert "model.layers.0.self_attn.q_proj.lora_E" in stayed


def test_the_penalty_is_zero_for_orthogonal_vectors_alone() -> None:
    _, ranks = new_model()
    with torch.no_grad():
        for layer in ranks.layers:
            for part in ("lora_A", "lora_B"):
                torch.nn.init.orthogonal_(layer[part])
        assert float(ranks.penalty()) < 1e-5
        ranks.layers[0]["lora_A"].mul_(2)
        # A A' - 1 is three times the identity [6, 6] in one of the matrices
        expected = METHOD.orthogonality * 3 * 6**0.5 / (2 * len(ranks.layers))
        assert abs(float(ranks.penalty()) - expected) < 1e-4
