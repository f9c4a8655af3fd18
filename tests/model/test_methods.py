"""Methods on the shape of LLaMA-7B, the layers that they change, and what they are refused for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import PeftModel
from pydantic import TypeAdapter
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from tasks.errors import ConfigError
from tasks.model.adapters.adaptation import ADAPTER, Adaptation
from tasks.model.adapters.allows import ALLOWS, check_method
from tasks.model.adapters.methods import AdapterMethod, DomainMethod, Full, Lora
from tasks.model.adapters.parts import scale_of
from tasks.pretrain.config import PretrainConfig
from tasks.training.config import TrainingConfig

METHODS: TypeAdapter[DomainMethod] = TypeAdapter(DomainMethod)
Q_V = ["q_proj", "v_proj"]
KEY = "pretrain.adapter.targets"
SMALLEST = {"insert_blocks": {"kind": "insert_blocks", "after": [1]}}  # has no defaults


def method_of(given: dict[str, Any]) -> DomainMethod:
    return METHODS.validate_python(given)


@pytest.fixture(scope="module")
def shape() -> LlamaConfig:
    return LlamaConfig()  # its defaults are the shape of LLaMA-7B


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Gema et al., table 2: LLaMA, then PMC-LLaMA
        ({"kind": "lora", "rank": 16, "targets": Q_V}, 8_388_608),
        ({"kind": "lora", "rank": 4, "targets": Q_V}, 2_097_152),
        ({"kind": "adaption_prompt", "tokens": 10, "layers": 30}, 1_228_830),
        ({"kind": "prefix", "tokens": 20}, 5_242_880),
        ({"kind": "prefix", "tokens": 10}, 2_621_440),
        ({"kind": "prompt", "tokens": 15}, 61_440),
        ({"kind": "prompt", "tokens": 10}, 40_960),
        ({"kind": "p_tuning", "tokens": 20, "width": 256, "layers": 4}, 16_093_696),
        ({"kind": "p_tuning", "tokens": 1, "width": 256, "network": "mlp"}, 2_171_392),
        # by hand: d = 4096, 32 layers, feedforward blocks 11008 wide
        ({"kind": "ia3"}, 32 * (4096 + 4096 + 11008)),  # 614,400 in Taylor et al.
        ({"kind": "pissa", "rank": 16, "targets": Q_V}, 8_388_608),
        ({"kind": "dora", "rank": 16, "targets": Q_V}, 8_388_608 + 32 * 2 * 4096),
        ({"kind": "vera", "rank": 256, "targets": Q_V}, 32 * 2 * (256 + 4096)),
        ({"kind": "adalora", "initial_rank": 12, "targets": Q_V}, 32 * 2 * 12 * (2 * 4096 + 1)),
        ({"kind": "lora", "rank": 1, "targets": "attention"}, 32 * 4 * 2 * 4096),
        ({"kind": "lora", "rank": 1, "targets": "ffn"}, 32 * 3 * (4096 + 11008)),
        ({"kind": "lora", "rank": 1, "targets": "all-linear"}, 32 * (8 * 4096 + 3 * 15104)),
        ({"kind": "full"}, 6_738_415_616),
        ({"kind": "insert_blocks", "after": [16, 32]}, 2 * 202_383_360),
    ],
    ids=str,
)
def test_trained_parameters_of_a_7b_model(
    shape: LlamaConfig, given: dict[str, Any], expected: int
) -> None:
    with torch.device("meta"):
        base = LlamaForCausalLM(shape).requires_grad_(False)
        adaptation = Adaptation.of(base, method_of(given), 100, KEY)
    trained = [p.numel() for p in adaptation.model.parameters() if p.requires_grad]
    assert sum(trained) == expected
    named = dict(adaptation.model.named_parameters())
    (names,) = adaptation.parts(adaptation.model).values()
    assert sorted(names) == sorted(name for name, p in named.items() if p.requires_grad)


def test_every_kind_is_in_the_table() -> None:
    kinds = [get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(AdapterMethod)]
    assert sorted([*kinds, Full().kind, "insert_blocks"]) == sorted(ALLOWS)


def bert() -> PreTrainedModel:
    return BertModel(
        BertConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    )


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=20))


@pytest.mark.parametrize(
    ("model", "group", "expected"),
    [
        (bert, "attention", {"query", "key", "value", "attention.output.dense"}),
        (bert, "ffn", {"intermediate.dense", "0.output.dense", "1.output.dense"}),
        (gpt2, "attention", {"c_attn", "attn.c_proj"}),
        (gpt2, "ffn", {"c_fc", "mlp.c_proj"}),
    ],
)
def test_groups_of_layers_are_found_by_architecture(
    model: Any, group: str, expected: set[str]
) -> None:
    adapted = Adaptation.of(model(), method_of({"kind": "lora", "targets": group}), 1, KEY).model
    assert isinstance(adapted, PeftModel)
    assert set(adapted.peft_config[ADAPTER].target_modules) == expected  # type: ignore[attr-defined]
    layers = {
        name.partition(".lora_A")[0] for name, _ in adapted.named_parameters() if "_A" in name
    }
    mark = "attn" if model is gpt2 else "attention"
    assert layers
    assert all((mark in name) == (group == "attention") for name in layers)


def test_ia3_scales_feedforward_blocks_at_their_input() -> None:
    model = Adaptation.of(bert(), method_of({"kind": "ia3", "targets": "all-linear"}), 1, KEY).model
    shapes = {name: p.shape for name, p in model.named_parameters() if "ia3_l" in name}
    of = {name.split("encoder.layer.")[-1].split(".ia3_l")[0]: shapes[name] for name in shapes}
    assert of["0.attention.self.query"] == (8, 1)
    assert of["0.attention.output.dense"] == (8, 1)
    assert of["0.intermediate.dense"] == (1, 8)
    assert of["0.output.dense"] == (1, 16)


def pretrain(**given: Any) -> PretrainConfig:
    return PretrainConfig.model_validate({"base": {"kind": "path", "path": "base"}, **given})


def test_the_scale_of_a_lora_is_by_the_root_of_its_rank_unless_told() -> None:
    for given, scale in (({}, 8.0), ({"rslora": False}, 2.0), ({"kind": "dora"}, 2.0)):
        method = pretrain(adapter=given).adapter
        model = Adaptation.of(gpt2(), method, 1, KEY).model
        assert scale_of(model, ADAPTER) == scale
    assert not Lora().rslora  # elsewhere than in pretrain.adapter
    assert pretrain().adapter == Lora(rslora=True)


@pytest.mark.parametrize("kind", ALLOWS)
def test_a_rate_that_is_not_given_is_the_methods(kind: str) -> None:
    expected, kind = ALLOWS[kind].learning_rate, method_of(SMALLEST.get(kind, {"kind": kind}))
    for training in ({}, {"batch_size": 4}, {"learning_rate": None, "batch_size": 4}):
        config = pretrain(adapter=kind, training=training)
        assert config.training.learning_rate == expected
        assert config.training.batch_size == training.get("batch_size", 16)
        assert PretrainConfig.model_validate(config.model_dump()) == config
    assert pretrain(adapter=kind, training={"learning_rate": 0.5}).training.learning_rate == 0.5
    if kind == method_of({"kind": "lora"}):
        assert pretrain().training == TrainingConfig()


ZERO3 = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero3.json"


@pytest.mark.parametrize(
    ("kind", "training", "causal", "sentence"),
    [
        ("adaption_prompt", {}, False, "adaption_prompt, which is for no encoder; take one"),
        ("prefix", {"gradient_checkpointing": True}, True, "gradient_checkpointing to false"),
        ("pissa", {"deepspeed": ZERO3}, True, r"zero3\.json is ZeRO-3, .*/zero2\.json"),
    ],
)
def test_what_a_method_cannot_do_is_refused(
    kind: str, training: dict[str, Any], causal: bool, sentence: str
) -> None:
    config = TrainingConfig.model_validate(training)
    with pytest.raises(ConfigError, match=sentence):
        check_method(method_of({"kind": kind}), config, causal=causal)
    check_method(Lora(), config, causal=causal)
    check_method(method_of({"kind": kind}), TrainingConfig(), causal=True)
