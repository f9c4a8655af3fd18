"""An encoder as a base: padding reaches no token, adapters go on it, and a member learns on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from tasks.errors import ModelError
from tasks.model.adapters.methods import Lora
from tasks.model.bases.files import has_masked_head, is_causal, positions_of
from tasks.model.bases.load import load_base, states_width
from tasks.model.classifier import load_classifier, new_classifier
from tests.model.test_classifier import IDS, PRESENT, SHAPES, logits_of, train

TINY = BertConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=32,
)


@pytest.fixture(params=[BertForMaskedLM, BertModel], ids=["masked", "bare"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    request.param(TINY).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_padding_reaches_no_token(folder: Path) -> None:
    base = load_base(folder)
    base.model.eval()
    assert not is_causal(folder)
    assert states_width(base) == 16
    with torch.no_grad():
        alone = base.states(IDS[1:, :3], PRESENT[1:, :3])
        padded = base.states(IDS, PRESENT)
        unmasked = base.states(IDS, torch.ones_like(PRESENT))
    torch.testing.assert_close(padded[1:, :3], alone, rtol=0, atol=1e-6)
    assert (unmasked[1, :3] - alone[0]).abs().max() > 1e-3, "else the mask would say nothing"


def test_a_member_learns_on_it_is_saved_and_comes_back(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = new_classifier(load_base(folder), Lora(rank=2, targets=("query", "value")), [])
    model.add_heads(SHAPES)
    before = logits_of(model)
    train(model)
    learned = logits_of(model)
    assert (learned - before).abs().max() > 1e-2
    model.save(tmp_path / "member")
    again = load_classifier(load_base(folder), tmp_path / "member", [])
    torch.testing.assert_close(logits_of(again), learned)


def test_weights_that_are_not_there_are_missed(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {name: each for name, each in load_file(path).items() if "layer.1.attention" not in name}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="which would be random"):
        load_base(folder)


def test_its_files_say_whether_it_has_an_output_layer_and_how_much_it_reads(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    assert has_masked_head(folder) == (described["architectures"] == ["BertForMaskedLM"])
    assert positions_of(folder) == 32
    # RoBERTa's positions begin after that of the padding
    roberta = described | {"model_type": "roberta", "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(roberta))
    assert positions_of(folder) == 30
