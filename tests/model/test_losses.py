"""The loss that an output layer gives itself, beside that of all logits at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tasks.model.adapters.build import add_new_adapter, language_model
from tasks.model.adapters.methods import Lora
from tasks.model.bases import losses
from tasks.model.bases.causal import load_causal
from tasks.model.bases.losses import UNSCORED, giving_losses, giving_token_losses
from tasks.model.bases.trial import output_that_gives_losses
from tasks.pretrain.objectives.causal import Packs, summed_loss, token_losses
from tests.model.architectures import APART, PACKED, write_base


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_and_its_gradients_are_those_of_all_logits_at_once(
    bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses._LOGITS, "cpu", 70)  # ten tokens at a time, and a rest
    torch.manual_seed(0)
    layer = nn.Linear(5, 7, bias=bias, dtype=dtype)
    states = torch.randn(3, 11, 5, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 7, (3, 11))
    targets[1, 4:9] = UNSCORED
    learned = [states, *layer.parameters()]
    logits = layer(states).float().flatten(0, 1)
    expected = F.cross_entropy(logits, targets.flatten(), ignore_index=UNSCORED, reduction="sum")
    with giving_losses(layer, targets):
        loss = layer(states)
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    )
    torch.testing.assert_close(loss, expected, **tolerance)
    for given, right in zip(
        torch.autograd.grad(loss * 3, learned),
        torch.autograd.grad(expected * 3, learned),
        strict=True,
    ):
        assert given.dtype == dtype
        torch.testing.assert_close(given, right, **tolerance)
    assert layer(states).shape == (3, 11, 7), "afterwards it gives logits again"


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.Linear(5, 7).requires_grad_(False)
    states = torch.randn(2, 3, 5, requires_grad=True)
    with giving_losses(layer, torch.tensor([[1, 2], [3, 4]])):  # the last of each row's tokens
        loss = layer(states)
    loss.backward()
    assert layer.weight.grad is None
    assert states.grad is not None
    assert not states.grad[:, 0].any()
    assert states.grad[:, 1:].any()


def test_the_losses_of_wanted_tokens_are_those_of_all_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(losses._LOGITS, "cpu", 35)  # five tokens at a time, and a rest
    torch.manual_seed(0)
    layer, states = nn.Linear(5, 7), torch.randn(3, 13, 5)  # two virtual tokens before each row
    targets = torch.randint(0, 7, (3, 11))
    targets[1, 4:9] = UNSCORED
    with torch.no_grad():
        logits = layer(states)[:, 2:].transpose(1, 2)
    expected = F.cross_entropy(logits, targets, ignore_index=UNSCORED, reduction="none")
    for wanted, right in (
        (targets, expected),
        (torch.full_like(targets, UNSCORED), torch.zeros(3, 11)),
    ):
        with giving_token_losses(layer, wanted):
            torch.testing.assert_close(layer(states), right, rtol=1e-5, atol=1e-5)
    assert layer(states).shape == (3, 13, 7), "afterwards it gives logits again"


def test_an_output_layer_with_an_adapter_gives_the_loss_and_learns(tmp_path: Path) -> None:
    adapter = Lora(rank=8, targets=("q_proj", "lm_head"))
    model = add_new_adapter(load_causal(write_base("llama", tmp_path)), adapter, "default")
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    output = output_that_gives_losses(model, language_model(model))
    assert output is not None
    ids = torch.arange(5, 35).reshape(2, 15)
    packs = Packs(ids, torch.arange(15).repeat(2, 1), torch.ones(2, 15, dtype=torch.bool))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss, expected = summed_loss(model, output, packs), token_losses(model, packs).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    for given, right in zip(
        torch.autograd.grad(loss, learned), torch.autograd.grad(expected, learned), strict=True
    ):
        torch.testing.assert_close(given, right, rtol=1e-4, atol=1e-4)


AFTERWARDS = {"cohere", "gemma2", "gemma3n", "recurrent-gemma"}  # bound or scale their logits


@pytest.mark.parametrize("name", [*PACKED, *APART])
def test_a_base_gives_the_same_loss_in_its_output_layer_or_is_not_asked(
    name: str, tmp_path: Path
) -> None:
    model = load_causal(write_base(name, tmp_path)).eval()
    output = output_that_gives_losses(model, model)
    assert (output is None) == (name in AFTERWARDS)
    if output is None:
        return
    ids = torch.arange(5, 35).reshape(2, 15)
    positions = torch.arange(15).repeat(2, 1)
    scored = torch.ones(2, 15, dtype=torch.bool)
    scored[:, 0] = False
    scored[1, 9:] = False
    packs = Packs(ids, positions, scored)
    with torch.no_grad():
        loss = summed_loss(model, output, packs, packed=name in PACKED)
        expected = token_losses(model, packs, packed=name in PACKED).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
