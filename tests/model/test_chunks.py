"""Long texts in chunks: a piece's state is from the chunk that sees most around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from tasks.errors import ConfigError
from tasks.model.bases.causal import trunk
from tasks.model.bases.chunks import Chunks
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.load import check_positions, load_base
from tests.model.architectures import POSITIONS, write_base

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5), longest=st.integers(4, 24))
def test_every_token_comes_back_to_its_place(lengths: list[int], longest: int) -> None:
    chunks = Chunks.of(np.array(lengths), longest)
    ids = torch.arange(max(lengths)).expand(len(lengths), -1)
    joined = chunks.join(chunks.cut(ids)[..., None])[..., 0]
    for row, length in enumerate(lengths):
        assert joined[row, :length].tolist() == list(range(length))
    assert int(chunks.present.sum(dim=1).max()) <= longest
    for chunk, present, text in zip(chunks.cut(ids), chunks.present, chunks.text, strict=True):
        framed = chunk[present].tolist()
        assert (framed[0], framed[-1]) == (0, lengths[int(text)] - 1)


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5), longest=st.integers(3, 24))
def test_a_decoders_token_comes_back_from_the_first_chunk_that_has_it(
    lengths: list[int], longest: int
) -> None:
    chunks = Chunks.of(np.array(lengths), longest, looking_back=True)
    ids = torch.arange(max(lengths)).expand(len(lengths), -1)
    joined = chunks.join(chunks.cut(ids)[..., None])[..., 0]
    rows = [row[there].tolist() for row, there in zip(chunks.cut(ids), chunks.present, strict=True)]
    assert max(map(len, rows)) <= longest
    for text, length in enumerate(lengths):
        assert joined[text, :length].tolist() == list(range(length))
        own = [index for index in range(len(rows)) if int(chunks.text[index]) == text]
        assert all(rows[index][0] == 0 for index in own), "each begins as the text does"
        for token in range(1, length):
            first = next(index for index in own if token in rows[index])
            assert int(chunks.chunk[text, token]) == first


def test_a_decoder_reads_chunks_as_texts_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_base("gpt2", tmp_path)  # with learned positions: it cannot read more
    base = load_base(tmp_path, chunk=12)
    base.model.eval()
    longer = POSITIONS + 20
    ids = torch.randint(5, 64, (2, longer))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 9:] = False
    check_positions(base, longer)
    with pytest.raises(ConfigError, match=r"set finetune\.long_notes to chunks"):
        check_positions(load_base(tmp_path), longer)
    with torch.no_grad():
        together = base.states(ids, mask)
        whole = load_base(tmp_path).model.eval()
        read = trunk(whole)(input_ids=ids[:, :12]).last_hidden_state
        chunks = Chunks.of(np.array([longer]), 12, looking_back=True)
        of_last = trunk(whole)(input_ids=chunks.cut(ids[:1])[-1:]).last_hidden_state
    assert together.shape[:2] == ids.shape
    torch.testing.assert_close(together[0, :12], read[0])
    torch.testing.assert_close(together[1, :9], read[1, :9])
    torch.testing.assert_close(together[0, -1], of_last[0, -1])
    assert torch.isfinite(together[mask]).all()


def test_an_encoder_reads_smaller_chunks_where_asked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    BertModel(BertConfig(**SHAPE, max_position_embeddings=40)).save_pretrained(tmp_path)
    ids = torch.randint(5, 64, (1, 30))
    present = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        whole, small = (load_base(tmp_path, chunk=size).states(ids, present) for size in (None, 12))
        chunks = Chunks.of(np.array([30]), 12)
        first = load_base(tmp_path).states(chunks.cut(ids)[:1], present[:, :12])
    torch.testing.assert_close(small[0, :3], first[0, :3])
    assert (whole - small).abs().max() > 1e-3


def test_a_piece_is_read_where_it_has_most_neighbors() -> None:
    chunks = Chunks.of(np.array([100]), longest=22)
    starts = chunks.source[:, 1].numpy() - 1
    for token in range(1, 99):
        chosen = int(chunks.chunk[0, token])
        distances = np.abs(token - (starts + 10.5))
        assert distances[chosen] == distances.min()
        assert 0 < int(chunks.place[0, token]) < 21, "never in the frame's place"


def test_chunks_are_read_as_texts_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    BertModel(BertConfig(**SHAPE, max_position_embeddings=12)).save_pretrained(tmp_path)
    base = load_base(tmp_path)
    base.model.eval()
    ids = torch.cat([torch.tensor([2]), torch.randint(5, 64, (28,)), torch.tensor([3])])[None]
    present = torch.ones_like(ids, dtype=torch.bool)
    short = ids[:, :9]
    batch = torch.zeros((2, 30), dtype=torch.long)
    batch[0], batch[1, :9] = ids[0], short[0]
    mask = torch.zeros_like(batch, dtype=torch.bool)
    mask[0], mask[1, :9] = True, True
    with torch.no_grad():
        together = base.states(batch, mask)
        alone = base.states(short, present[:, :9])
        chunks = Chunks.of(np.array([30]), 12)
        number, place = int(chunks.chunk[0, 14]), int(chunks.place[0, 14])
        of_chunk = base.states(chunks.cut(ids)[number : number + 1], present[:, :12])
    torch.testing.assert_close(together[1, :9], alone[0])
    torch.testing.assert_close(together[0, 14], of_chunk[0, place])
    assert together.shape == (2, 30, 16)


def test_roberta_counts_its_positions_from_behind_the_pad(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RobertaConfig(**SHAPE, max_position_embeddings=14, pad_token_id=1)
    RobertaModel(config).save_pretrained(tmp_path)
    base = load_base(tmp_path)
    assert isinstance(base, Encoder)
    assert base.longest == 12
    ids = torch.randint(5, 64, (1, 40))
    with torch.no_grad():
        assert base.states(ids, torch.ones_like(ids, dtype=torch.bool)).shape == (1, 40, 16)
