"""States joined with the tokens' own embeddings: both are there, each with its own scale."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, LlamaForCausalLM

from tasks.model.bases.load import load_base, states_width
from tasks.model.heads.scaling import Centering
from tests.model.test_chunks import SHAPE
from tests.model.test_classifier import IDS, PRESENT, tiny_config


@pytest.mark.parametrize("family", ["decoder", "encoder", "narrow embeddings"])
def test_a_state_is_followed_by_its_tokens_embedding(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if family == "decoder":
        LlamaForCausalLM(tiny_config()).save_pretrained(tmp_path)
    elif family == "encoder":
        BertModel(BertConfig(**SHAPE)).save_pretrained(tmp_path)
    else:
        AlbertModel(AlbertConfig(**SHAPE, embedding_size=4)).save_pretrained(tmp_path)
    plain, both = load_base(tmp_path), load_base(tmp_path, words=True)
    hidden = states_width(plain)
    assert states_width(both) == 2 * hidden
    with torch.no_grad():
        states = both.states(IDS, PRESENT)
        torch.testing.assert_close(states[..., :hidden], plain.states(IDS, PRESENT))
        embedded = plain.model.get_input_embeddings()(IDS)
    narrow = embedded.shape[-1]
    assert torch.equal(states[..., hidden : hidden + narrow], embedded)
    assert not states[..., hidden + narrow :].any()


def test_a_text_in_chunks_keeps_its_words_in_their_places(tmp_path: Path) -> None:
    BertModel(BertConfig(**{**SHAPE, "max_position_embeddings": 6})).save_pretrained(tmp_path)
    ids = torch.arange(3, 23)[None]
    base = load_base(tmp_path, words=True)
    with torch.no_grad():
        states = base.states(ids, torch.ones_like(ids, dtype=torch.bool))
        embedded = base.model.get_input_embeddings()(ids)
    assert torch.equal(states[..., -embedded.shape[-1] :], embedded)


def test_each_part_has_a_scale_of_its_own() -> None:
    draws = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    states = draws * torch.tensor([30.0] * 4 + [0.1] * 4) + 7
    scaling = Centering(8, parts=2)
    scaling.fit(states)
    scaled = scaling(states)
    for part in (scaled[:, :4], scaled[:, 4:]):
        assert part.mean().abs() < 1e-3
        assert part.std() == pytest.approx(1.0, abs=0.01)
    whole = Centering(8)
    whole.fit(states)
    assert whole(states)[:, 4:].std() < 0.01
