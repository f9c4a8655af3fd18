"""Bottlenecks stand where sublayers end, change nothing at first, and learn by their layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertModel, PreTrainedModel

from tasks.errors import ConfigError
from tasks.model.adapters.bottleneck import places_of
from tasks.model.adapters.methods import Bottleneck
from tasks.model.bases.load import load_base
from tasks.model.classifier import new_classifier
from tasks.model.rates import graded
from tests.model.architectures import ALL
from tests.model.test_chunks import SHAPE
from tests.model.test_classifier import IDS, PRESENT, SHAPES, base, beside, clinical

__all__ = ["base", "clinical"]  # fixtures
BOTH = Bottleneck(behind="both", reduction=4)
ENDS = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "gpt-neox": ("attention.dense", "mlp.dense_4h_to_h"),
    "opt": ("self_attn.out_proj", "fc2"),
    "phi": ("self_attn.dense", "mlp.fc2"),
    "bert": ("attention.output.dense", "output.dense"),
}


def model_of(name: str) -> PreTrainedModel:
    if name == "bert":
        return BertModel(BertConfig(**SHAPE))
    return AutoModelForCausalLM.from_config(ALL[name]())


@pytest.mark.parametrize("name", ENDS)
def test_they_stand_where_sublayers_end(name: str) -> None:
    model = model_of(name)
    for method, ends in ((BOTH, ENDS[name]), (Bottleneck(), ENDS[name][1:])):
        places = places_of(model, method, "finetune.adapter")
        assert [end for _, end in places] == [*ends] * model.config.num_hidden_layers


def test_a_base_without_sublayers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"finetune\.adapter is bottleneck, but no layer of a"):
        places_of(model_of("mamba"), BOTH, "finetune.adapter")


def test_at_first_they_change_nothing(base: Path, clinical: Path) -> None:
    plain = new_classifier(load_base(base), BOTH, [])
    with torch.no_grad():
        expected = load_base(base).states(IDS, PRESENT)
        torch.testing.assert_close(plain.states(IDS, PRESENT), expected)
        summed = new_classifier(load_base(base), BOTH, beside(clinical))
        before = summed.states(IDS, PRESENT)
        for parameter in summed.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        assert (summed.states(IDS, PRESENT) - before).abs().max() > 1e-2
        with summed.without("task"):
            torch.testing.assert_close(summed.states(IDS, PRESENT), before)


def test_they_learn_at_the_rate_of_their_layer(base: Path, clinical: Path) -> None:
    for summands in ([], beside(clinical)):
        model = new_classifier(load_base(base), BOTH, summands)
        model.add_heads(SHAPES)
        rates = graded(model.rates(1.0), model, layer_decay=0.5)
        for index, rate in ((0, 0.5), (1, 1.0)):
            of_layer = [rates[name] for name in rates if f"layers.{index}." in name]
            assert of_layer == [rate] * 8
