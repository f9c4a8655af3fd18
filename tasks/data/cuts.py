"""Where texts may be cut, so that their tokens are those of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

_SPACE, _NEWLINE = 0x20, 0x0A
# as vocabularies write them: as they are, byte-level, or SentencePiece's way
_SPACES, _NEWLINES = " \u0120\u2581", "\n\u010a"
# between two of these no normalizer joins what stands on either side of a cut
_VISIBLE = np.zeros(256, bool)
_VISIBLE[0x21:0x7F] = True
# what is tried on one side of a cut, each with every visible character on the other
_SIDES = ("a", "of", "12", "'s", "mg/dL", "hypertension", "one of them", "\u00e9", "\u4e2d")

Parts = tuple[str, str]


@dataclass(frozen=True)
class Cuts:
    """Where a tokenizer's texts may be cut, between visible ASCII characters."""

    at_spaces: bool  # before a single space
    spaces_stay: bool = True  # or else the tokenizer puts one before each part by itself
    after_newlines: bool = False

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Cuts:
        """Find out by the tokenizer's vocabulary, and by trying.

        Where no token has a space behind another character, the tokens of a text are those of its
        parts, whether a model merges pairs or weighs pieces; what else a tokenizer does to a text,
        it does to a few characters at a time, all pairs of which are tried.
        """
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        added = tokenizer.get_added_tokens_decoder().values()
        takes_spaces = any(t.lstrip or t.rstrip or t.single_word for t in added if not t.special)
        drawn = getattr(tokenizer.model, "dropout", None)  # merges left out by chance
        spaces = (set(piece.lstrip(_SPACES)) & set(_SPACES) for piece in vocabulary)
        if drawn or takes_spaces or any(spaces):
            return cls(at_spaces=False)
        if not _agrees(tokenizer, " ", lambda left, right: (left, f" {right}")):
            stay = False
            return cls(_agrees(tokenizer, " ", lambda left, right: (left, right)), stay)
        lines = (set(piece.rstrip(_NEWLINES)) & set(_NEWLINES) for piece in vocabulary)
        return cls(
            at_spaces=True,
            after_newlines=not any(lines)
            and _agrees(tokenizer, "\n", lambda left, right: (f"{left}\n", right)),
        )

    def parts(self, texts: Sequence[str]) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
        """The parts of all texts, and of each text how many parts end with it.

        >>> parts, ends = Cuts(True, after_newlines=True).parts(["a b", "", "c  d\\ne"])
        >>> parts.to_pylist(), ends.tolist()
        (['a', ' b', '', 'c  d\\n', 'e'], [2, 3, 5])
        >>> Cuts(True, spaces_stay=False).parts(["a b", "c"])[0].to_pylist()
        ['a', 'b', 'c']
        """
        _, offsets, data = pa.array(texts, pa.large_string()).buffers()
        bounds = np.frombuffer(offsets, np.int64)[: len(texts) + 1]
        characters = np.frombuffer(data or b"", np.uint8)[: bounds[-1]]
        cut = self._cut(characters, bounds)
        begins = np.flatnonzero(cut)
        if not self.spaces_stay:
            characters = characters[~cut]
            gone = np.concatenate([[0], np.cumsum(cut)])
            begins, bounds = begins - gone[begins], bounds - gone[bounds]
        edges = np.concatenate([begins, bounds])
        edges.sort(kind="stable")
        parts = pa.LargeStringArray.from_buffers(
            len(edges) - 1, pa.py_buffer(edges), pa.py_buffer(characters)
        )
        return parts, np.searchsorted(begins, bounds[1:]) + np.arange(1, len(texts) + 1)

    def _cut(self, characters: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of each character, whether a part begins with it that does not begin its text."""
        visible, cut = _VISIBLE[characters], np.zeros(len(characters), bool)
        first = np.zeros(len(characters) + 1, bool)
        first[bounds] = True
        if self.at_spaces:
            cut[1:-1] = (characters[1:-1] == _SPACE) & visible[:-2] & visible[2:]
            cut &= ~first[1:]  # the space that a text ends with
        if self.after_newlines:
            cut[1:] |= (characters[:-1] == _NEWLINE) & visible[1:]
        return cut & ~first[:-1]


def _agrees(tokenizer: Tokenizer, at: str, cut: Callable[[str, str], Parts]) -> bool:
    """Whether texts that have this character in their middle have the tokens of their parts."""
    visible = [chr(code) for code in np.flatnonzero(_VISIBLE)]
    sides = [*product(visible, _SIDES), *product(_SIDES, visible), *product(_SIDES, _SIDES)]
    parts = [cut(left, right) for left, right in sides]
    texts = (
        [f"{left}{at}{right}" for left, right in sides],
        [left for left, _ in parts],
        [right for _, right in parts],
    )
    encoded = (tokenizer.encode_batch_fast(given, add_special_tokens=False) for given in texts)
    return all(
        whole.ids == left.ids + right.ids for whole, left, right in zip(*encoded, strict=True)
    )
