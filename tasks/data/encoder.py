"""Encode many notes: what stands between two spaces is given to the tokenizer once.

Notes say the same words again and again, and to look one up takes a fraction of the time that it
takes to tokenize it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tasks.data.cuts import Cuts
from tasks.data.tokenizer import frame_of

MOST_PARTS = 500_000  # that are remembered, in some 70 MB; then all are forgotten


class Encoder:
    """Encodes texts as a tokenizer does, and remembers the ids of parts of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Of a tokenizer that neither cuts nor pads; it gets texts whole where it must."""
        self._tokenizer = tokenizer
        self._before, self._after = (np.array(ids, np.int32) for ids in frame_of(tokenizer))
        self._cuts = Cuts.of(tokenizer)
        self._known: dict[str, int] = {}  # the number of each part
        self._ids = np.zeros(0, np.int32)  # of all parts, in the order of their numbers
        self._ends = np.zeros(1, np.int64)  # where the ids of the part before each one end

    def encode(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[NDArray[np.int32]]:
        """The token ids of each text, the very ones that the tokenizer gives."""
        if not self._cuts.at_spaces or not texts:
            encodings = self._tokenizer.encode_batch_fast(
                list(texts), add_special_tokens=add_special_tokens
            )
            return [np.array(encoding.ids, np.int32) for encoding in encodings]
        parts, ends = self._cuts.parts(texts)
        coded = parts.dictionary_encode()
        known = self._look_up(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        counts = self._ends[known + 1] - self._ends[known]
        totals = np.cumsum(counts)
        within = np.arange(totals[-1]) - np.repeat(totals - counts, counts)
        flat = self._ids[np.repeat(self._ends[known], counts) + within]
        ids = np.split(flat, totals[ends - 1][:-1])
        if not add_special_tokens:
            return ids
        return [np.concatenate([self._before, text, self._after]) for text in ids]

    def _look_up(self, parts: Sequence[str]) -> NDArray[np.int64]:
        """The number of each of these parts; those that are not known yet are encoded."""
        if len(self._known) + len(parts) > MOST_PARTS:
            self._forget()
        new = [part for part in parts if part not in self._known]
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        self._known |= zip(new, range(len(self._known), len(self._known) + len(new)), strict=True)
        self._ids = np.concatenate([self._ids, *(np.array(of_one, np.int32) for of_one in ids)])
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])
        return np.array([self._known[part] for part in parts], np.int64)

    def _forget(self) -> None:
        self._known = {}
        self._ids, self._ends = self._ids[:0], self._ends[:1]
