"""The words of a note, and which of its tokens are of which word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# letters and digits, also around a hyphen, an apostrophe or a point; other marks by themselves
_WORD = re.compile(r"\w+(?:[-.'\u2019]\w+)*|[^\w\s]")
_LINE_BREAK = re.compile(r"[\n\r]")

Span = tuple[int, int]  # of characters: the first, and the one after the last


def spans_of(text: str) -> list[Span]:
    """Where the words and marks of a text stand.

    >>> spans_of("no S.O.B.,")
    [(0, 2), (3, 8), (8, 9), (9, 10)]
    """
    return [match.span() for match in _WORD.finditer(text)]


@dataclass(frozen=True)
class Words:
    """What a note is made of, in its order: words, marks, and white space that is a token."""

    spans: tuple[Span, ...]  # [words], in the note's text
    of_token: NDArray[np.int64]  # [tokens], an index of words; -1: of no word, as [CLS] and BOS

    @classmethod
    def of(cls, text: str, offsets: Sequence[Span], of_text: Sequence[bool]) -> Words:
        """The words that tokens at these offsets are of.

        A token is of one word: where it spans two, they are one here. A space is of the word that
        follows it; a line break is a word by itself.

        Args:
            offsets: [tokens], where each stands in the text.
            of_text: [tokens], False for those that a tokenizer's template adds.

        >>> offsets = [(0, 2), (2, 3), (3, 5), (5, 10), (10, 11), (11, 12), (12, 17)]
        >>> words = Words.of("no S.O.B.,\\n\\nstone", offsets, [True] * 7)
        >>> words.spans, words.of_token.tolist()
        (((0, 2), (3, 10), (10, 12), (12, 17)), [0, 1, 1, 1, 2, 2, 3])
        """
        whole = spans_of(text)
        heads = _heads_of_tokens(text, whole, offsets)
        spans: list[Span] = []
        index_of: dict[int, int] = {}  # of each word's head
        of_token = np.full(len(offsets), -1)
        blank = False  # whether the token before is of a line break
        for token, span in enumerate(offsets):
            if not of_text[token]:
                blank = False
                continue
            head, last = heads[token]
            if head is None:
                spans = [*spans[:-1], (spans[-1][0], span[1])] if blank else [*spans, span]
                of_token[token] = len(spans) - 1
            else:
                if head not in index_of:
                    index_of[head] = len(spans)
                    spans.append((whole[head][0], whole[last][1]))
                of_token[token] = index_of[head]
            blank = head is None
        return cls(tuple(spans), of_token)

    def __len__(self) -> int:
        return len(self.spans)

    def sums(self, of_tokens: NDArray[np.floating]) -> NDArray[np.float64]:
        """What the tokens of each word have together, [words], of what each has, [tokens]."""
        inside = self.of_token >= 0
        sums = np.bincount(self.of_token[inside], of_tokens[inside], len(self.spans))
        return sums.astype(np.float64)

    def tokens(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which tokens are left where these words [words] are kept: also those of no word."""
        return np.append(kept, True)[self.of_token]


def _heads_of_tokens(
    text: str, whole: Sequence[Span], offsets: Sequence[Span]
) -> list[tuple[int | None, int]]:
    """Of each token the first and the last of the words that are one with its own.

    None: it is of a line break, or of spaces that no word follows.
    """
    at = np.full(len(text), -1)
    for index, (begin, end) in enumerate(whole):
        at[begin:end] = index
    held = [at[begin:end][at[begin:end] >= 0] for begin, end in offsets]
    first = np.arange(len(whole))
    for words in held:
        for word in range(words[0] + 1, words[-1] + 1) if len(words) else ():
            first[word] = first[word - 1]
    for word, before in enumerate(first):  # what is one with one that is one with others
        first[word] = first[before]
    last = {int(head): word for word, head in enumerate(first)}
    heads: list[tuple[int | None, int]] = [(None, -1)] * len(offsets)
    for token in reversed(range(len(offsets))):
        begin, end = offsets[token]
        if len(held[token]):
            head = int(first[held[token][0]])
            heads[token] = head, last[head]
        elif token + 1 < len(offsets) and not _LINE_BREAK.search(text, begin, end):
            heads[token] = heads[token + 1]
    return heads
