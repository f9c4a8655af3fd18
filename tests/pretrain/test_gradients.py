"""The first backward pass tells whether what was to learn is part of the forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import TrainingError
from tasks.model.lora import LoraSettings
from tasks.pretrain.jobs import AdapterJob, BaseJob
from tasks.pretrain.train import _check_gradients

FIRST, SECOND = "base_model.model.model.layers.0.mlp.", "base_model.model.model.layers.1.mlp."
EMBEDDING = "base_model.model.model.embed_tokens.lora_embedding_"
NORMS = {
    f"{FIRST}up_proj.lora_A.default.weight": 0.0,  # waits until B has left zero
    f"{FIRST}up_proj.lora_B.default.weight": 0.3,
    f"{SECOND}up_proj.lora_B.default.weight": 0.0,  # an expert to which no token went
    f"{EMBEDDING}A.default": 0.1,
    f"{EMBEDDING}B.default": 0.0,
}


def adapter(*targets: str) -> AdapterJob:
    lora = LoraSettings(targets=targets or "all-linear")
    return AdapterJob(base=Path("base"), lora=lora, gradient_checkpointing=False)


def test_each_target_must_be_reached_in_some_layer() -> None:
    _check_gradients(NORMS, adapter("up_proj", "embed_tokens"))
    for silent in (f"{FIRST}up_proj.lora_B.default.weight", f"{EMBEDDING}A.default"):
        with pytest.raises(TrainingError, match=r"^(up_proj|embed_tokens) got no gradient"):
            _check_gradients(NORMS | {silent: 0.0}, adapter("up_proj", "embed_tokens"))


def test_of_all_linear_layers_one_must_be_reached() -> None:
    _check_gradients(NORMS, adapter())
    with pytest.raises(TrainingError, match="the adapter got no gradient"):
        _check_gradients(dict.fromkeys(NORMS, 0.0), adapter())


def test_all_of_a_new_base_must_be_reached() -> None:
    method = BaseJob(
        vocabulary_size=300, hidden_size=32, layers=1, heads=2, max_positions=64,
        pad=0, bos=1, eos=2,
    )  # fmt: skip
    _check_gradients({"model.norm.weight": 0.1}, method)
    with pytest.raises(TrainingError, match=r"model\.norm\.weight got no gradient"):
        _check_gradients({"model.norm.weight": 0.0, "lm_head.weight": 0.1}, method)
