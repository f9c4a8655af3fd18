"""What a word does to a prediction is what the scorer says of the text without it."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.score.occlusion import occlude
from tasks.score.scorer import Scorer
from tests.score.conftest import Members


@pytest.mark.parametrize("name", ["fused", "triage", "ia3"])
def test_each_word_is_left_out_once(members: Members, name: str) -> None:
    scorer, key = Scorer(members.store, device="cpu"), members.keys[name]
    outcome = next(iter(scorer.member(key).outcomes))
    text = "CHIEF COMPLAINT: chest pain\nno fever"
    found = occlude(scorer, text, key, outcome)
    shown = [text[start:end] for start, end in found.spans]
    assert shown == ["CHIEF", "COMPLAINT", ":", "chest", "pain", "no", "fever"]
    without = ["CHIEF : chest pain\nno fever", "CHIEF COMPLAINT chest pain\nno fever"]
    by_hand = scorer.score([text, *without], [key])[key][outcome]
    np.testing.assert_allclose(found.whole, by_hand.probabilities[0], rtol=1e-4)
    np.testing.assert_allclose(found.without[1:3], by_hand.probabilities[1:], rtol=1e-4)

    first, *others = found.words(0, most=4)
    change = abs(first.without - found.whole[0])
    assert change == np.abs(found.without[:, 0] - found.whole[0]).max() > 0
    assert text[first.start : first.end] == first.word
    assert len(others) == 3
    assert all(abs(word.without - found.whole[0]) <= change for word in others)


def test_a_text_without_words_is_scored_all_the_same(members: Members) -> None:
    scorer, key = Scorer(members.store, device="cpu"), members.keys["fused"]
    outcome = next(iter(scorer.member(key).outcomes))
    found = occlude(scorer, " \n", key, outcome)
    assert found.without.shape == (0, len(found.whole))
    assert found.words(0) == []
