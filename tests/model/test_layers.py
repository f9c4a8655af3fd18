"""States of a layer below the last: the same as the whole model's, and adapters still fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, BertModel, LlamaForCausalLM

from tasks.errors import ConfigError
from tasks.model.bases.layers import take_dropout_off
from tasks.model.bases.load import load_base
from tasks.model.trunk import Summand, freeze
from tests.model.architectures import ALL
from tests.model.test_chunks import SHAPE
from tests.model.test_classifier import IDS, PRESENT, base, clinical, tiny_config

__all__ = ["base", "clinical"]  # fixtures


@pytest.mark.parametrize("family", ["decoder", "encoder"])
def test_the_states_are_those_of_the_layer(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if family == "decoder":
        LlamaForCausalLM(tiny_config()).save_pretrained(tmp_path)
    else:
        BertModel(BertConfig(**SHAPE)).save_pretrained(tmp_path)
    whole = AutoModel.from_pretrained(tmp_path).eval()
    cut = freeze(load_base(tmp_path, layer=1), [])
    with torch.no_grad():
        expected = whole(
            input_ids=IDS, attention_mask=PRESENT.long(), output_hidden_states=True
        ).hidden_states[1]
        states = cut.states(IDS, PRESENT)
    torch.testing.assert_close(states[PRESENT], expected[PRESENT])
    assert (states - load_base(tmp_path).states(IDS, PRESENT)).abs().max() > 1e-3


def test_an_adapter_of_the_whole_base_fits_what_is_left(base: Path, clinical: Path) -> None:
    plain = freeze(load_base(base, layer=1), [])
    adapted = freeze(load_base(base, layer=1), [Summand("clinical", clinical)])
    with torch.no_grad():
        difference = adapted.states(IDS, PRESENT) - plain.states(IDS, PRESENT)
    assert difference.abs().max() > 1e-2


def test_a_layer_that_is_not_there_is_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.layer is 3, but the base has 2 layers"):
        load_base(base, layer=3)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_a_summand_is_added_at_its_weight(base: Path, clinical: Path, weight: float) -> None:
    """Merged by hand, W + weight * dW gives the same states."""
    weighed = freeze(load_base(base), [Summand("clinical", clinical, weight=weight)])
    full = load_base(base)
    freeze(full, [Summand("clinical", clinical)])
    merged = load_base(base)
    deltas = {
        name: module.get_delta_weight("clinical")
        for name, module in full.model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert deltas
    with torch.no_grad():
        for name, delta in deltas.items():
            merged.model.get_submodule(name).weight += weight * delta
        torch.testing.assert_close(weighed.states(IDS, PRESENT), merged.states(IDS, PRESENT))


@pytest.mark.parametrize("name", ALL)
def test_a_base_without_dropout_computes_the_same_in_training(name: str) -> None:
    config = ALL[name]()
    for key, value in config.to_dict().items():
        if isinstance(value, float) and "drop" in key:
            setattr(config, key, 0.5)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    expected = model.eval()(input_ids=IDS).logits
    take_dropout_off(model)
    torch.testing.assert_close(model.train()(input_ids=IDS).logits, expected)
