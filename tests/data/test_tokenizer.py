"""Whatever a note holds is text: no tokenizer makes a control token of it, and none is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tasks.data.tokenizer import LoadedTokenizer, read_tokenizer
from tasks.errors import ModelError
from tests.data._tokenizers import (
    CONTROLS,
    byte_level,
    of_kinds,
    our_own,
    save,
    sentence_piece,
)

MARKERS = (
    *("<s>", "</s>", "<pad>", "<unk>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "<|endoftext|>"),
    *("<think>", "</think>", "[INST]", "|||EMAIL|||", "<0x0A>", "<0x41>", "\uff1cs\uff1e", "[cls]"),
)
texts = st.lists(
    st.one_of(st.sampled_from(MARKERS), st.sampled_from("<>/[]s |"), st.text(max_size=6)),
    max_size=8,
).map("".join)


EXACT = (our_own, byte_level, sentence_piece)  # the others normalize, or know no byte


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return read_tokenizer(folder)


@pytest.fixture(scope="module")
def controls(folder: Path, tokenizer: Tokenizer) -> set[int]:
    named = {kind.__name__: tokens for kind, tokens in CONTROLS.items()}
    ids = {tokenizer.token_to_id(each) for each in named[folder.name]}
    assert None not in ids
    return ids


@of_kinds(*CONTROLS)
@settings(deadline=None)
@given(text=texts)
def test_no_text_gives_a_control_token(tokenizer: Tokenizer, controls: set[int], text: str) -> None:
    encoding = tokenizer.encode(text)
    ours = np.array(encoding.special_tokens_mask, bool)
    ids = np.array(encoding.ids, int)
    assert not controls.intersection(ids[~ours].tolist())
    assert ids[ours].tolist() == tokenizer.encode("").ids, "the template's own are still there"
    assert tokenizer.encode_batch_fast([text])[0].ids == encoding.ids


@of_kinds(*EXACT)
@settings(deadline=None)
@given(text=texts)
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@of_kinds(sentence_piece)
@settings(deadline=None)
@given(text=texts)
def test_a_converted_tokenizer_gives_the_tokens_of_sentencepiece(
    folder: Path, tokenizer: Tokenizer, text: str
) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert tokenizer.encode(text, add_special_tokens=False).ids == model.encode(text)


@of_kinds(*CONTROLS)
def test_text_without_markers_is_encoded_as_ever(folder: Path, tokenizer: Tokenizer) -> None:
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("chest pain, BP 120/80", "  denies fever;\n cough < 3 days [sic] a/s", ""):
        assert tokenizer.encode(text).ids == plain.encode(text).ids


def test_a_word_that_was_added_stays_one_token(tmp_path: Path) -> None:
    byte_level(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.add_tokens(["metformin", "    "])
    save(tokenizer, tmp_path, eos_token="<|endoftext|>")
    tokens = read_tokenizer(tmp_path).encode("on metformin    bid").tokens
    assert {"metformin", "    "} < set(tokens)


def test_an_id_without_a_row_is_refused_unless_no_text_gives_it(tmp_path: Path) -> None:
    byte_level(tmp_path)
    loaded = LoadedTokenizer.load(tmp_path)
    rows = loaded.size
    loaded.check_rows(rows, tmp_path)
    loaded.check_rows(rows - 5, tmp_path)  # all five are markers
    with pytest.raises(ModelError, match=rf"{rows - 6} rows, and 1 tokens .* 'Ġ\w+'"):
        loaded.check_rows(rows - 6, tmp_path)
    save(loaded.tokenizer, tmp_path, eos_token="[PAD]")
    with pytest.raises(ModelError, match=r"1 tokens of its tokenizer .* '\[PAD\]'"):
        LoadedTokenizer.load(tmp_path).check_rows(rows - 5, tmp_path)
    save(loaded.tokenizer, tmp_path, eos_token="<|endoftext|>", pad_token="[PAD]")
    with pytest.raises(ModelError, match=r"'\[PAD\]' .*; a pad_token may also be named anew"):
        LoadedTokenizer.load(tmp_path).check_rows(rows - 5, tmp_path)


@pytest.mark.parametrize("eos", [0, [0, 5]])
def test_the_models_config_may_name_the_end(tmp_path: Path, eos: int | list[int]) -> None:
    byte_level(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": eos}))
    assert LoadedTokenizer.load(tmp_path).eos == 0


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("tokenizer.json", "{}", r"holds no readable tokenizer\.json"),
        ("tokenizer.json", "[1]", r"holds no readable tokenizer\.json"),
        ("tokenizer_config.json", "no json", "no readable tokenizer configuration"),
        ("tokenizer_config.json", "[]", "no readable tokenizer configuration"),
        ("tokenizer_config.json", '{"eos_token": "<nothing>"}', "has no eos_token"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, told: str) -> None:
    byte_level(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=told):
        LoadedTokenizer.load(tmp_path)
