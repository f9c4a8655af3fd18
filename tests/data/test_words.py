"""The words of a text: whole ones, whatever pieces a tokenizer makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tasks.data.tokenizer import read_tokenizer
from tasks.data.words import Words
from tests.data._tokenizers import byte_level, of_kinds, our_own, sentence_piece, word_piece

KINDS = (our_own, byte_level, word_piece, sentence_piece)
TEXT = "Mr. O'Neil, 82 y.o.:\n\n- follow-up of pneumothorax  (38.5 C)\nna\u00efve to statins."
pieces = st.sampled_from(["heart", "follow-up", " ", "\n", "  ", "38.5", "(", ").", "\u00e9", "'s"])
texts = st.lists(pieces, max_size=12).map("".join)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return read_tokenizer(folder)


def words_of(tokenizer: Tokenizer, text: str) -> Words:
    encoding = tokenizer.encode(text)
    return Words.of(text, encoding.offsets, [not added for added in encoding.special_tokens_mask])


@of_kinds(*KINDS)
def test_words_are_whole(tokenizer: Tokenizer) -> None:
    found = [TEXT[start:end] for start, end in words_of(tokenizer, TEXT).spans]
    assert {"O'Neil", "82", "follow-up", "of", "pneumothorax", "na\u00efve", "statins"} <= {
        word.strip(",.():\n ") for word in found
    }


@of_kinds(*KINDS)
@settings(deadline=None, max_examples=40)
@given(text=texts)
def test_every_token_of_a_text_is_of_one_word_and_words_do_not_overlap(
    tokenizer: Tokenizer, text: str
) -> None:
    encoding = tokenizer.encode(text)
    added = np.array(encoding.special_tokens_mask, bool)
    words = words_of(tokenizer, text)
    assert ((words.of_token >= 0) == ~added).all()
    assert set(words.of_token[~added].tolist()) == set(range(len(words)))
    edges = [edge for span in words.spans for edge in span]
    assert edges == sorted(edges)
    none = words.tokens(np.zeros(len(words), bool))
    assert none.tolist() == added.tolist()  # without all words a text is the empty one
    assert words.tokens(np.ones(len(words), bool)).all()
