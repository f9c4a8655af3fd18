"""Lower layers that are frozen have no adapter and learn nothing; upper ones are drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from tasks.errors import ConfigError
from tasks.finetune.config import FinetuneConfig, MemberTraining
from tasks.finetune.members import UNFUSED
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.model.bases.layers import draw_anew
from tasks.model.bases.load import load_base
from tasks.model.classifier import load_classifier, new_classifier
from tasks.training.program import World
from tests.finetune.conftest import Inputs, inputs
from tests.model.test_chunks import SHAPE
from tests.model.test_classifier import (
    SHAPES,
    base,
    beside,
    clinical,
    logits_of,
    train,
)

__all__ = ["base", "clinical", "inputs"]  # fixtures
KINDS = ("lora", "dora", "pissa", "adalora", "ia3", "vera", "full", "bitfit", "bottleneck")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    BertModel(BertConfig(**SHAPE)).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def method_of(kind: str, **given: Any) -> Any:
    small = {"lora": {"rank": 2}, "dora": {"rank": 2}, "pissa": {"rank": 2}, "vera": {"rank": 8}}
    targets = {"targets": "all-linear"} if kind == "ia3" else {}
    adapter = {"kind": kind, **small.get(kind, {}), **targets, **given}
    return MemberTraining.model_validate({"adapter": adapter}).adapter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["base", "encoder"])
def test_nothing_below_learns(
    kind: str, family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    model = new_classifier(load_base(folder), method_of(kind), [], freeze_below=1)
    model.add_heads(SHAPES)
    names = model.trained_parts()["task"]
    assert names
    assert all(".1." in name or name.endswith("norm.weight") for name in names), names
    adapted = [n for n, _ in model.backbone.named_parameters() if ".task" in n or "bottle" in n]
    assert not any(".0." in name for name in adapted)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved - {name for name in moved if name.startswith("heads.")} <= set(names)
    assert any(name in moved for name in names)
    model.save(tmp_path / "member")
    again = load_classifier(load_base(folder), tmp_path / "member", [])
    torch.testing.assert_close(logits_of(again), logits_of(model), rtol=0, atol=1e-5)


def test_it_learns_beside_a_summand_that_has_all_layers(base: Path, clinical: Path) -> None:
    lora = method_of("lora", targets=["q_proj", "embed_tokens"])
    model = new_classifier(load_base(base), lora, beside(clinical), freeze_below=1)
    names = model.trained_parts()["task"]
    assert len(names) == 2
    assert all("layers.1.self_attn.q_proj" in name for name in names)


def test_a_base_of_which_nothing_would_learn_is_refused(base: Path) -> None:
    for kind in ("lora", "full", "bottleneck"):
        with pytest.raises(ConfigError, match=r"freeze_below is 2, but the base has 2 layers"):
            new_classifier(load_base(base), method_of(kind), [], freeze_below=2)
    lora = method_of("lora", targets=["embed_tokens"])
    with pytest.raises(ConfigError, match=r"none of these layers lies above the 1 of"):
        new_classifier(load_base(base), lora, [], freeze_below=1)


@pytest.mark.parametrize("family", ["base", "encoder"])
def test_upper_layers_are_drawn_as_for_a_new_model(
    family: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    drawn = []
    for seed in (0, 0, 1):
        model = load_base(folder).model
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.7)
        torch.manual_seed(seed)
        draw_anew(model, 1)
        drawn.append({name: p.detach().clone() for name, p in model.named_parameters()})
    for name, tensor in drawn[0].items():
        above = ".1." in name
        assert bool((tensor == 0.7).all()) == (not above), name
        assert torch.equal(tensor, drawn[1][name])
        if above and tensor.dim() > 1:
            assert tensor.std() == pytest.approx(0.02, rel=0.2)  # both configs' initializer_range
            assert not torch.equal(tensor, drawn[2][name])
        elif above:
            expected = 0.0 if name.endswith("bias") else 1.0
            assert bool((tensor == expected).all()), name
    with pytest.raises(ConfigError, match=r"reinit_top is 3, but the base has 2 layers"):
        draw_anew(load_base(folder).model, 3)
    with pytest.raises(ConfigError, match=r"reinit_top is 1 and finetune\.freeze_below is 2"):
        draw_anew(load_base(folder).model, 1, below=2)


def test_a_member_starts_with_layers_drawn_by_its_seed(inputs: Inputs, world: World) -> None:
    plain = dict(AutoModel.from_pretrained(inputs.base).named_parameters())
    tops = []
    for seed in (0, 0, 1):
        job = inputs.job(UNFUSED, adapter="full", reinit_top=1, seed=seed, freeze_below=1)
        model = build(Study.read(job), world)
        states = {n.removeprefix("model."): p for n, p in model.base.model.named_parameters()}
        same = {name for name in states if torch.equal(states[name], plain[name])}
        assert not any("layers.1." in name and "proj" in name for name in same)
        assert {name for name in states if "layers.0." in name or "embed" in name} <= same
        tops.append(states["layers.1.mlp.up_proj.weight"])
    assert torch.equal(tops[0], tops[1])
    assert not torch.equal(tops[0], tops[2])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"adapter": None, "freeze_below": 1}, "freeze_below is 1, but adapter is null"),
        ({"adapter": "prefix", "freeze_below": 1}, "freeze_below is 1, but adapter is prefix"),
        ({"adapter": "ia3", "freeze_below": 1}, "name them for ia3"),
        ({"reinit_top": 1}, "reinit_top is 1, but adapter is lora"),
        ({"adapter": "full", "reinit_top": 1}, "layers anew that a summand was made for"),
    ],
)
def test_what_would_do_nothing_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FinetuneConfig.model_validate(given)


def test_a_trained_summand_learns_in_all_layers() -> None:
    members = [{"name": "sum", "summands": [{"fusion": "trained"}]}]
    with pytest.raises(ValueError, match="a summand learns on, and that in all layers"):
        FinetuneConfig.model_validate({"freeze_below": 1, "members": members})
