"""Adapters on a base of 4 or 8 bits a weight, by bitsandbytes' own kernels for the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.model.adapters.adaptation import Adaptation, load_adapted
from tasks.model.adapters.allows import ALLOWS, check_quantized
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import check_quantizable
from tasks.model.bases.quantized import quantize
from tasks.pretrain.tokenizer import train_bpe
from tasks.training.config import TrainingConfig
from tasks.training.flops import flops_per_token
from tasks.training.program import World
from tests.model.test_methods import ZERO3, method_of
from tests.pretrain.conftest import write_text
from tests.pretrain.encoders import write_encoder
from tests.pretrain.test_methods import job_of, keeping, measure, trained, write_corpora


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("plain")
    train_bpe(write_text(folder / "text.txt"), 300, folder)
    size = LoadedTokenizer.load(folder).size
    # the CPU's kernels take widths that are multiples of a block of 64 weights
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=size, num_attention_heads=2, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[4, 8], ids="{}bit".format)
def quantized(
    request: pytest.FixtureRequest, plain: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """Bits of a weight, and the folder of the base, with corpora of two splits."""
    folder = tmp_path_factory.mktemp("quantized")
    quantize(plain, f"{request.param}bit", folder)
    write_corpora(folder, packed=True)
    return request.param, folder


def logits_of(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    model = load_causal(folder).eval()
    with torch.no_grad():
        called = model if adapter is None else load_adapted(model, adapter)
        logits: torch.Tensor = called(input_ids=torch.arange(5, 25)[None], use_cache=False).logits
    return logits[:, -20:]


def test_a_quantized_base_is_smaller_and_nearly_the_same(
    plain: Path, quantized: tuple[int, Path]
) -> None:
    bits, folder = quantized
    whole, small = load_causal(plain), load_causal(folder)
    name = "model.layers.0.mlp.down_proj.weight"
    weights = small.get_parameter(name)
    assert weights.numel() * weights.element_size() * 8 == whole.get_parameter(name).numel() * bits
    expected = logits_of(plain)
    difference = logits_of(folder) - expected
    assert 0 < difference.norm() < expected.norm() * (0.2 if bits == 4 else 0.05)
    assert flops_per_token(small, small, 10.0) == flops_per_token(whole, whole, 10.0)


@pytest.mark.parametrize("kind", [kind for kind, can in ALLOWS.items() if can.bits])
def test_a_method_learns_on_a_quantized_base(
    quantized: tuple[int, Path], world: World, tmp_path: Path, kind: str, monkeypatch: Any
) -> None:
    """What is saved is what was trained."""
    bits, folder = quantized
    if bits not in ALLOWS[kind].bits:
        pytest.skip(f"{kind} takes no base of {bits} bits")
    last: dict[str, Any] = {}
    monkeypatch.setattr(Adaptation, "write", keeping(last, causal=True))
    job = job_of(folder, kind)
    out = trained(job, world, tmp_path / "adapter")
    assert json.loads((out / "work" / "counts.json").read_text())["method"] == kind
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.02
    assert_close(logits_of(folder, out), last["logits"], rtol=0, atol=2e-2)
    measured = measure(folder, job, world, out, tmp_path / "measured")
    assert measured["perplexity_after"] < measured["perplexity_before"] * 0.99


def test_what_needs_the_weights_as_they_are_is_refused(monkeypatch: Any) -> None:
    methods = {"pretrain.adapter": method_of({"kind": "pissa"})}
    with pytest.raises(
        ConfigError, match=r"is pissa, which learns on no base of 4 bits; .*take one of lora, dora"
    ):
        check_quantized(4, methods, {})
    dora = {"pretrain.adapter": method_of({"kind": "dora"})}
    check_quantized(4, dora, {})
    with pytest.raises(
        ConfigError, match=r"pretrain\.adapter is dora, which learns on no base of 8"
    ):
        check_quantized(8, dora, {})
    lora = {"pretrain.adapter": method_of({"kind": "lora"})}
    training = {"pretrain.training": TrainingConfig(deepspeed=ZERO3)}
    with pytest.raises(ConfigError, match=r"pretrain\.training\.deepspeed is ZeRO-3"):
        check_quantized(4, lora, training)
    check_quantized(4, lora, {"pretrain.training": TrainingConfig()})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'clinfuse\[quantized\]'"):
        check_quantized(4, lora, {})


def test_an_encoder_is_not_quantized(tmp_path: Path, plain: Path) -> None:
    check_quantizable(plain)
    with pytest.raises(ConfigError, match=r"is for decoders, and .* is an encoder; leave it out"):
        check_quantizable(write_encoder(tmp_path / "encoder", with_output=True))
