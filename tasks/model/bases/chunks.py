"""Texts longer than an encoder reads: overlapping chunks, and their states joined again.

A piece's state is taken from the chunk in which it lies most centrally: near a chunk's edge it has
seen half of its neighbors only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.25  # of a chunk, with the one before it


@dataclass(frozen=True)
class Chunks:
    """Where the tokens of a batch of texts lie in chunks, each framed as a whole text is.

    A text is one token that begins it, pieces, and one token that ends it; these two frame every
    chunk of it.
    """

    source: Tensor  # [chunks, length], the place in a text of each token of a chunk
    present: Tensor  # [chunks, length] bool
    text: Tensor  # [chunks], which text it is of
    chunk: Tensor  # [texts, tokens], the chunk from which each token's state is taken
    place: Tensor  # [texts, tokens], and the place in it

    @classmethod
    def of(cls, lengths: NDArray[np.int64], longest: int) -> Chunks:
        """Cut texts of so many tokens into chunks of at most `longest` tokens.

        >>> Chunks.of(np.array([7]), longest=5).source.tolist()
        [[0, 1, 2, 3, 6], [0, 3, 4, 5, 6]]
        """
        texts: list[int] = []
        rows: list[NDArray[np.int64]] = []
        width = int(lengths.max())
        chunk = np.zeros((len(lengths), width), np.int64)
        place = np.zeros((len(lengths), width), np.int64)
        for text, length in enumerate(lengths):
            starts = _starts(int(length), longest)
            size = min(int(length), longest)
            tokens = np.arange(length)
            # of a chunk from `start`: its center, and the chunk nearest to each token
            nearest = np.abs(tokens[:, None] - (starts + (size - 1) / 2)).argmin(axis=1)
            chunk[text, :length] = len(rows) + nearest
            place[text, :length] = tokens - starts[nearest]
            for start in starts:
                row = np.arange(start, start + size)
                row[0], row[-1] = 0, length - 1
                rows.append(row)
                texts.append(text)
            # the frame's own states: the first's from the first chunk, the last's from the last
            place[text, length - 1] = size - 1
        longest_row = max(map(len, rows))
        source = np.zeros((len(rows), longest_row), np.int64)
        present = np.zeros((len(rows), longest_row), bool)
        for index, row in enumerate(rows):
            source[index, : len(row)] = row
            present[index, : len(row)] = True
        tensors = (source, present, np.array(texts), chunk, place)
        return cls(*map(torch.from_numpy, tensors))

    def cut(self, input_ids: Tensor) -> Tensor:
        """The chunks [chunks, length] of ids [texts, tokens]."""
        device = input_ids.device
        return input_ids[self.text.to(device)[:, None], self.source.to(device)]

    def join(self, states: Tensor) -> Tensor:
        """States [texts, tokens, hidden] of those of the chunks [chunks, length, hidden]."""
        return states[self.chunk.to(states.device), self.place.to(states.device)]


def _starts(length: int, longest: int) -> NDArray[np.int64]:
    """Where the chunks of a text begin, evenly spaced."""
    if length <= longest:
        return np.zeros(1, np.int64)
    step = (longest - 2) - int((longest - 2) * OVERLAP)
    count = 1 + -(-(length - longest) // step)
    return np.linspace(0, length - longest, count).round().astype(np.int64)
