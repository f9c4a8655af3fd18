"""Notes without some of their words: those that got the most attention, or random ones.

A word is taken out with its tokens, and the text closes up, as in ERASER (DeYoung et al. 2020):
there is no token that stands for nothing in every base, and notes leave words out anyhow. What
the shorter text itself does to a prediction, it does without random words, too, and these are
what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.data.notes import Notes
from tasks.data.words import Words
from tasks.measures.faithfulness import STEPS

Order = NDArray[np.int64]  # [words], the words of a note, the first to be taken out first


@dataclass
class Texts:
    """Altered texts, each of which is scored once however often it is asked for."""

    pad: int
    ids: list[NDArray[np.int32]] = field(default_factory=list)
    _known: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def add(self, note: ReadNote, kept: NDArray[np.bool_]) -> int:
        """The number of the note's text with these words [words] only."""
        key = note.row, np.packbits(kept).tobytes()
        if key not in self._known:
            self._known[key] = len(self.ids)
            self.ids.append(note.ids[note.words.tokens(kept)])
        return self._known[key]

    @property
    def notes(self) -> Notes:
        """The texts as notes of nobody."""
        lengths = [len(ids) for ids in self.ids]
        return Notes(
            hadm_ids=np.zeros(len(self.ids), np.int64),
            splits=("",) * len(self.ids),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            tokens=np.concatenate([np.zeros(0, np.int32), *self.ids]),
            pad=self.pad,
        )


@dataclass(frozen=True)
class ReadNote:
    """An admission's note as the member reads it."""

    row: int  # of the admission
    text: str
    ids: NDArray[np.int32]  # [tokens]
    words: Words

    def without(self, words: Order) -> NDArray[np.bool_]:
        """All words but these, [words]."""
        kept = np.ones(len(self.words), bool)
        kept[words] = False
        return kept

    def steps(self, order: Order) -> Iterator[Order]:
        """The first of an order: none of it, a tenth, two tenths, ..., all."""
        for step in range(STEPS + 1):
            yield order[: round(step * len(order) / STEPS)]


@dataclass(frozen=True)
class Randomly:
    """The texts of a note without random words, which all of its labels share."""

    curves: NDArray[np.int64]  # [draws, STEPS + 1], numbers of texts
    few: NDArray[np.int64]  # [draws], without as many words as are shown


@dataclass(frozen=True)
class Attended:
    """The texts of a note without the words that a label attends to."""

    words: Order  # [shown], the most attended first
    whole: int
    together: int  # without all of these words
    alone: NDArray[np.int64]  # [shown], without each of them
    deletion: NDArray[np.int64]  # [STEPS + 1], without the first tenths
    insertion: NDArray[np.int64]  # [STEPS + 1], of the first tenths alone


def randomly(
    note: ReadNote, texts: Texts, draws: int, shown: int, random: np.random.Generator
) -> Randomly:
    """Add the note's texts without random words."""
    orders = [random.permutation(len(note.words)) for _ in range(draws)]
    curves = [[texts.add(note, note.without(some)) for some in note.steps(o)] for o in orders]
    few = [texts.add(note, note.without(order[:shown])) for order in orders]
    return Randomly(np.array(curves), np.array(few))


def attended(note: ReadNote, texts: Texts, shares: NDArray[np.float64], shown: int) -> Attended:
    """Add the note's texts without the words that have these shares [words] of the attention."""
    order = np.argsort(-shares, kind="stable")
    words = order[:shown]
    kept = [note.without(some) for some in note.steps(order)]
    return Attended(
        words=words,
        whole=texts.add(note, note.without(order[:0])),
        together=texts.add(note, note.without(words)),
        alone=np.array(
            [texts.add(note, note.without(words[i : i + 1])) for i in range(len(words))], np.int64
        ),
        deletion=np.array([texts.add(note, some) for some in kept]),
        insertion=np.array([texts.add(note, ~some) for some in kept]),
    )
