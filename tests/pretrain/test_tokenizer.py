"""The tokenizer: exact on any text, the same every time, and found again without torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError, ModelError
from tasks.pretrain.sentencepiece import convert
from tasks.pretrain.tokenizer import train_bpe

SIZE = 300


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizer")
    train_bpe(inputs / "general.txt", SIZE, place)
    return place


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(trained: Path, text: str) -> None:
    tokenizer = LoadedTokenizer.load(trained).tokenizer
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_it_begins_a_document_and_knows_its_special_tokens(trained: Path) -> None:
    loaded = LoadedTokenizer.load(trained)
    assert loaded.size == SIZE
    assert len({loaded.pad, loaded.bos, loaded.eos}) == 3
    assert loaded.tokenizer.encode("chest pain").ids[0] == loaded.bos
    assert [loaded.tokenizer.id_to_token(token) for token in (0, 1, 2)] == ["<pad>", "<s>", "</s>"]


def test_a_number_is_its_digits(trained: Path) -> None:
    tokens = LoadedTokenizer.load(trained).tokenizer.encode("1234").tokens
    assert tokens == ["<s>", "1", "2", "3", "4"]


def test_the_same_text_gives_the_same_bytes(trained: Path, inputs: Path, tmp_path: Path) -> None:
    train_bpe(inputs / "general.txt", SIZE, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_too_little_text_for_the_vocabulary_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("a few words")
    with pytest.raises(ConfigError, match="vocabulary_size; lower it, or give more text"):
        train_bpe(path, 2000, tmp_path)


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt cannot be read"):
        train_bpe(tmp_path / "nowhere.txt", SIZE, tmp_path)


def test_a_sentencepiece_model_is_converted_exactly(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "tokenizer-mistral-v1"
    convert(source, tmp_path)
    loaded = LoadedTokenizer.load(tmp_path)
    assert (loaded.size, loaded.bos, loaded.eos, loaded.pad) == (32_000, 1, 2, 2)
    model = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    for text in ("Chest pain", "a\n  b   c\n\n- ___ y/o", "naïve 感 🙂", " x", "\t\r\n", "<s>a"):
        assert loaded.tokenizer.encode(text).ids == [1, *model.encode(text)]


def test_what_cannot_be_converted_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither tokenizer\.json nor a readable"):
        convert(tmp_path, tmp_path)
