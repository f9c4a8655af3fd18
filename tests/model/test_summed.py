"""Updates that are added to a layer's weight: the same sum, and the same gradients, as PEFT's."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from tasks.model.adapters.gates import gate
from tasks.model.adapters.summed import SummedLinear, add_weights

STATES = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
NAMES = ("clinical", "task")


def model_of(dtype: torch.dtype = torch.float32, **settings: object) -> PeftModel:
    """A layer with two adapters, whose factors are far from zero; PEFT adds them one by one."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(8, 12, dtype=dtype))
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["0"], **settings)  # type: ignore[arg-type]
    model = get_peft_model(layers, config, adapter_name=NAMES[0])  # type: ignore[arg-type]
    model.add_adapter(NAMES[1], config)
    model.base_model.set_adapter(list(NAMES))  # type: ignore[operator, arg-type]
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.5)
        parameter.requires_grad_("task" in name)
    assert isinstance(model, PeftModel)
    return model


def results(model: PeftModel) -> list[Tensor]:
    """What a model makes of the states, and the gradients of them and of what learns."""
    states = STATES.clone().requires_grad_(True)
    given = model(states)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [given, *torch.autograd.grad(given.square().sum(), [states, *learned])]


def layer_of(model: PeftModel) -> SummedLinear:
    add_weights(model)
    (layer,) = (module for module in model.modules() if isinstance(module, LoraLinear))
    assert isinstance(layer, SummedLinear)
    return layer


@pytest.mark.parametrize("gated", [False, True])
def test_the_sum_and_its_gradients_are_those_of_the_factors(gated: bool) -> None:
    model = model_of()
    if gated:
        gate(model, NAMES[0])
    expected = results(model)
    assert layer_of(model).adds_weights(60)
    assert len(expected) == (5 if gated else 4)
    for given, right in zip(results(model), expected, strict=True):
        torch.testing.assert_close(given, right, rtol=1e-5, atol=1e-4)


def test_an_adapter_that_is_set_aside_or_merged_takes_part_as_in_peft() -> None:
    model, plain = model_of(), model_of()
    layer = layer_of(model)
    for each in (model, plain):
        each.base_model.set_adapter(NAMES[0])
    torch.testing.assert_close(model(STATES), plain(STATES), rtol=1e-5, atol=1e-5)
    with model.disable_adapter(), plain.disable_adapter():
        assert not layer.adds_weights(60)
        assert torch.equal(model(STATES), plain(STATES))
    for each in (model, plain):
        each.base_model.merge_adapter([NAMES[0]])  # type: ignore[operator]
    assert not layer.adds_weights(60)
    assert torch.equal(model(STATES), plain(STATES))


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}], ids=str)
def test_what_is_more_than_two_factors_is_left_to_peft(settings: dict[str, bool]) -> None:
    layer = layer_of(model_of(**settings))
    assert not layer.adds_weights(10_000)


def test_dropout_is_applied_in_training_and_stops_nothing_in_evaluation() -> None:
    model = model_of(lora_dropout=0.5)
    layer = layer_of(model.train())
    assert not layer.adds_weights(60)
    assert not torch.equal(model(STATES), model(STATES))
    with torch.no_grad():
        assert layer_of(model.eval()).adds_weights(60)


def test_small_updates_are_not_rounded_away_in_half_precision() -> None:
    assert not layer_of(model_of(torch.bfloat16)).adds_weights(10_000)


def test_a_wide_layer_keeps_its_factors_where_they_are_less_work() -> None:
    wide = get_peft_model(
        nn.Sequential(nn.Linear(512, 512)),  # type: ignore[arg-type]
        LoraConfig(r=4, target_modules=["0"]),
    )
    layer = layer_of(wide)
    assert not layer.adds_weights(4096)
    with torch.no_grad():  # without gradients, one weight is less work for many tokens
        assert layer.adds_weights(4096)
        assert not layer.adds_weights(16)
