"""Whole notes, read in windows: each token is scored once, with what a window holds before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from torch.nn import functional

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import SourceError
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.causal import load_causal
from tasks.pretrain import perplexity
from tasks.pretrain.jobs import PerplexityJob
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.whole_notes import read_tokenized, windows, write_tokenized
from tasks.training.program import World
from tests.conftest import device
from tests.pretrain.conftest import new_base, write_text

WINDOW, STRIDE = 16, 6


@given(tokens=st.integers(0, 200), length=st.integers(2, 40), data=st.data())
def test_every_token_but_the_first_is_scored_once_with_context(
    tokens: int, length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, length - 1))
    scored: list[int] = []
    for window in windows(tokens, length, stride):
        assert window.end - window.begin <= length
        assert window.scored == 1 or window.scored - window.begin >= length - stride
        scored += range(window.scored, window.end)
    assert scored == list(range(1, tokens))


def test_a_note_is_scored_as_a_hand_computation_does(tmp_path: Path) -> None:
    new_base(hidden_size=16).save_pretrained(tmp_path / "base")
    model = add_new_adapter(load_causal(tmp_path / "base"), Lora(rank=2), "default").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    write_adapter(tmp_path / "adapter", model, "default")
    random = np.random.default_rng(0)
    notes = [random.integers(3, 300, size) for size in (40, 5, 16, 1, 17)]
    rows = [
        {"subject_id": subject_id, "bytes": 100, "input_ids": ids}
        for subject_id, ids in zip((9, 9, 7, 7, 3), notes, strict=True)
    ]
    folder = tmp_path / "notes" / "tokenized"
    table = pa.Table.from_pylist(rows, schemas.TOKENIZED)
    tables.write(folder / "part-0.parquet", schemas.TOKENIZED, table)
    job = PerplexityJob(
        base=tmp_path / "base",
        adapter=tmp_path / "adapter",
        notes=tmp_path / "notes",
        window=WINDOW,
        stride=STRIDE,
        precision="fp32",
    )
    world = World(0, 1, 0, tmp_path / "measured" / "work", device())
    world.work.mkdir(parents=True)
    perplexity.main(job, world)
    measured = tables.read(tmp_path / "measured" / "perplexity", schemas.PERPLEXITY).to_pylist()
    assert [row["subject_id"] for row in measured] == [9, 9, 7, 7, 3]
    for row, note in zip(measured, notes, strict=True):
        after = by_hand(model, note)
        with model.disable_adapter():
            before = by_hand(model, note)
        assert row["tokens"] == len(note) - 1
        assert row["nll_after"] == pytest.approx(after, abs=1e-4)
        assert row["nll_before"] == pytest.approx(before, abs=1e-4)
    assert abs(measured[0]["nll_before"] - measured[0]["nll_after"]) > 0.1


@torch.no_grad()
def by_hand(model: PeftModel, note: np.ndarray) -> float:
    """One token after another, each after what its window holds."""
    total, begin = 0.0, 0
    for token in range(1, len(note)):
        if token >= begin + WINDOW:
            begin += STRIDE
        ids = torch.from_numpy(note[begin : token + 1])[None]
        logits = model(input_ids=ids).logits[0, -2]
        total += float(functional.cross_entropy(logits, ids[0, -1]))
    return total


def test_bytes_are_those_of_what_is_scored(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "general.txt")
    train_bpe(corpus, 300, tmp_path / "tokenizer")
    tokenizer = LoadedTokenizer.load(tmp_path / "tokenizer")
    write_tokenized(tmp_path / "framed", [(1, "müde, ≥ 40")], tokenizer, framed=True)
    (with_marker,) = read_tokenized(tmp_path / "framed")
    assert with_marker.sizes.tolist() == [len("müde, ≥ 40".encode())]
    tokenizer.tokenizer.post_processor = None  # as in GPT-2's: the first token is text
    write_tokenized(tmp_path / "bare", [(1, "müde, ≥ 40")], tokenizer, framed=True)
    (bare,) = read_tokenized(tmp_path / "bare")
    assert bare.sizes.tolist() == [len("üde, ≥ 40".encode())]
    assert bare.input_ids[0].tolist() == with_marker.input_ids[0][1:].tolist()


def test_no_note_at_all_is_refused(tmp_path: Path) -> None:
    corpus = write_text(tmp_path / "general.txt")
    train_bpe(corpus, 300, tmp_path / "tokenizer")
    tokenizer = LoadedTokenizer.load(tmp_path / "tokenizer")
    with pytest.raises(SourceError, match="there is no note to measure"):
        write_tokenized(tmp_path / "none", [], tokenizer, framed=True)
