"""What each word of a text does to a prediction: the text is scored once more without it.

This asks for nothing of the head, and for nothing that was kept: it works on new texts, by any
member. What the words of heads with label-wise attention are, and how faithful that attention is,
the step `evidence` measures on the test admissions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.data.words import Span, spans_of
from tasks.score.calibration import Labels
from tasks.score.scorer import Scorer


class Word(NamedTuple):
    """A word, and the probability of a label where the text lacks it."""

    word: str
    start: int  # of its characters in the text
    end: int
    without: float


@dataclass(frozen=True)
class Occlusion:
    """The calibrated probabilities of an outcome's labels for a text, whole and without a word."""

    text: str
    spans: tuple[Span, ...]  # [words]
    labels: Labels
    whole: NDArray[np.float64]  # [labels]
    without: NDArray[np.float64]  # [words, labels]

    def words(self, label: int, most: int = 10) -> list[Word]:
        """Those without which that label's probability changes most, the first most of all."""
        change = np.abs(self.without[:, label] - self.whole[label])
        return [
            Word(self.text[start:end], start, end, float(self.without[index, label]))
            for index in np.argsort(-change, kind="stable")[:most]
            for start, end in [self.spans[index]]
        ]


def occlude(scorer: Scorer, text: str, member: str, outcome: str) -> Occlusion:
    """Score a text as it is, and without each of its words and marks, where it closes up.

    It takes a forward pass a word. A member that cuts long texts then reads as many words more at
    the cut as one leaves out.

    Args:
        text: as the member was trained on.
        member: its key, as `Scorer.member` takes it.

    Raises what `Scorer.score` does.
    """
    spans = tuple(spans_of(text))
    scores = scorer.score([text, *_without_each(text, spans)], [member], [outcome])
    found = scores[member][outcome]
    whole, *without = found.probabilities
    shape = len(spans), len(whole)
    return Occlusion(text, spans, found.labels, whole, np.reshape(without, shape))


def _without_each(text: str, spans: Sequence[Span]) -> Iterator[str]:
    for start, end in spans:
        before, after = text[:start], text[end:]
        # of the spaces around a word, those before it stay
        yield before + (after.lstrip(" ") if not before or before[-1].isspace() else after)
