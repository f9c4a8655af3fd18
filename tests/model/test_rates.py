"""Adapters learn slower the lower their layer lies, and B faster than A, where one asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tasks.finetune.config import FinetuneConfig
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.model.adapters.methods import Lora
from tasks.model.bases.load import load_base
from tasks.model.classifier import new_classifier
from tasks.model.rates import graded
from tasks.training.program import World
from tests.finetune.conftest import Inputs, inputs
from tests.finetune.test_train import fitted
from tests.model.test_chunks import SHAPE
from tests.model.test_classifier import SHAPES, base, beside, clinical

__all__ = ["base", "clinical", "inputs"]  # fixtures


def test_a_rate_falls_from_layer_to_layer_and_rises_from_a_to_b(base: Path, clinical: Path) -> None:
    lora = Lora(rank=2, targets=("q_proj", "embed_tokens"))
    model = new_classifier(load_base(base), lora, beside(clinical, fusion="trained"))
    model.add_heads(SHAPES)
    plain = model.rates(1.0)
    rates = graded(plain, model, layer_decay=0.5, lora_plus=16)
    assert rates.keys() == plain.keys()
    by_layer = {"layers.1.": 1.0, "layers.0.": 0.5, "embed_tokens": 0.25}
    for name, rate in rates.items():
        if name.startswith("heads."):
            assert rate == plain[name]
            continue
        (share,) = (share for part, share in by_layer.items() if part in name)
        assert rate == share * (16 if "_B." in name else 1), name
    assert graded(plain, model) == plain


def test_an_encoders_layers_are_told_too(tmp_path: Path) -> None:
    BertModel(BertConfig(**SHAPE)).save_pretrained(tmp_path)
    targets = ("query", "word_embeddings")
    model = new_classifier(load_base(tmp_path), Lora(rank=2, targets=targets), [])
    rates = graded(model.rates(1.0), model, layer_decay=0.5)
    layers = model.base.model.config.num_hidden_layers
    assert {rate for name, rate in rates.items() if "word_" in name} == {0.5**layers}
    for index in range(layers):
        of_layer = {rate for name, rate in rates.items() if f"layer.{index}." in name}
        assert of_layer == {0.5 ** (layers - 1 - index)}


def test_a_first_step_goes_as_far_as_the_rate_of_its_parameter(
    inputs: Inputs, world: World
) -> None:
    """Adam's first step moves by the rate, whatever the gradient."""
    given = {"learning_rate": 1e-3, "warmup_share": 0, "batch_size": 8, "epochs": 1}
    lora = Lora(rank=2, targets=("q_proj", "embed_tokens"))
    job = inputs.job(
        **given, adapter=lora, layer_decay=0.5, lora_plus=4, max_labelled_admissions=8,
        collapse_below=0,
    )  # fmt: skip
    study = Study.read(job)
    model = build(study, world)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = fitted(study, model, world).state
    moved = {name: float((state[name] - before[name]).abs().max()) for name in state}
    expected = {
        "layers.0.self_attn.q_proj.lora_B.task": 4 * 0.5e-3,
        "layers.1.self_attn.q_proj.lora_B.task": 4 * 1e-3,
        "lora_embedding_A.task": 0.25e-3,
    }
    for part, distance in expected.items():
        (name,) = (name for name in moved if part in name)
        assert moved[name] == pytest.approx(distance, rel=1e-3)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_rates_of_what_does_not_learn_are_refused() -> None:
    for key in ("layer_decay", "lora_plus"):
        with pytest.raises(ValueError, match=rf"training\.{key} is about .* adapter is null"):
            FinetuneConfig.model_validate({"adapter": None, "training": {key: 1}})
        with pytest.raises(ValueError, match=rf"training\.{key} is about .* adapter is prompt"):
            FinetuneConfig.model_validate({"adapter": "prompt", "training": {key: 1}})
