"""Encoding part by part gives the very ids of the tokenizer, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from tasks.data import encoder as encoder_module
from tasks.data.cuts import Cuts
from tasks.data.encoder import Encoder
from tasks.data.tokenizer import read_tokenizer
from tests.data._tokenizers import CONTROLS, of_kinds

WORDS = ("chest", "pain,", "BP", "120/80", "<s>", "[CLS]", "\u00e9", "\u4e2d", "(mg)", "'s", "0.5")
texts = st.lists(
    st.one_of(st.sampled_from(WORDS), st.sampled_from([" ", "  ", "\n", " \n ", "\t"]), st.text())
).map("".join)


def with_long_tokens(tokenizer: Tokenizer) -> None:
    """A token of two words."""
    vocabulary = {"<unk>": 0, "a": 1, "\u2581": 2, "b": 3, "\u2581b": 4, "a\u2581b": 5}
    tokenizer.model = models.BPE(
        vocab=vocabulary, merges=[("\u2581", "b"), ("a", "\u2581b")], unk_token="<unk>"
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")


def with_greedy_tokens(tokenizer: Tokenizer) -> None:
    """An added token that takes the spaces beside it along."""
    tokenizer.add_tokens([AddedToken("pain", lstrip=True, rstrip=True)])


def with_blocks(tokenizer: Tokenizer) -> None:
    """Texts are cut into five characters each before anything else."""
    tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(length=5)


def with_chance(tokenizer: Tokenizer) -> None:
    """Merges are left out by chance."""
    tokenizer.model.dropout = 1.0  # of all merges, so that ids can be compared


def without_ends(tokenizer: Tokenizer) -> None:
    """Spaces and newlines at the ends of a text are taken off."""
    tokenizer.normalizer = normalizers.Strip()


def bpe(words: str = "chest pain of them and hypertension a b ") -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([words * 9], trainer)
    return tokenizer


@of_kinds(*CONTROLS)
@settings(deadline=None)
@given(given_texts=st.lists(texts, max_size=5))
def test_the_ids_are_those_of_the_tokenizer(folder: Path, given_texts: list[str]) -> None:
    tokenizer = read_tokenizer(folder)
    encoder = Encoder(tokenizer)
    for framed in (True, False):
        ids = encoder.encode(given_texts, add_special_tokens=framed)
        whole = [tokenizer.encode(text, add_special_tokens=framed).ids for text in given_texts]
        assert [each.tolist() for each in ids] == whole


@of_kinds(*CONTROLS)
def test_texts_are_cut_wherever_they_may(folder: Path) -> None:
    spaces_stay = folder.name != "sentence_piece"  # which puts one before each text
    lines = folder.name in ("our_own", "byte_level", "word_piece")
    assert Cuts.of(read_tokenizer(folder)) == Cuts(True, spaces_stay, lines)


@pytest.mark.parametrize(
    ("change", "may_cut"),
    [
        (with_long_tokens, Cuts(at_spaces=False)),
        (with_greedy_tokens, Cuts(at_spaces=False)),
        (with_blocks, Cuts(at_spaces=False, spaces_stay=False)),
        (with_chance, Cuts(at_spaces=False)),
        (without_ends, Cuts(at_spaces=False, spaces_stay=False)),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
@settings(deadline=None)
@given(text=texts)
def test_where_parts_are_encoded_otherwise_the_text_stays_whole(
    change: Callable[[Tokenizer], None], may_cut: Cuts, text: str
) -> None:
    tokenizer = bpe()
    change(tokenizer)
    assert Cuts.of(tokenizer) == may_cut
    for whole in (text, "chest pain of them", "a b", " a pain\n"):
        (ids,) = Encoder(tokenizer).encode([whole])
        assert ids.tolist() == tokenizer.encode(whole).ids


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "MOST_PARTS", 4)
    tokenizer = bpe()
    encoder = Encoder(tokenizer)
    for text in ("a b a", "chest pain", "of them", "a b and hypertension of a b", "a"):
        (ids,) = encoder.encode([text])
        assert ids.tolist() == tokenizer.encode(text).ids
        assert len(encoder._known) <= max(4, len(set(text.split(" "))) + 1)
