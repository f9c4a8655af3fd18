"""Texts longer than a base reads: overlapping chunks, and their states joined again.

Of an encoder a piece's state is taken from the chunk in which it lies most centrally: near a
chunk's edge it has seen half of its neighbors only. Of a decoder, which looks back, it is taken
from the first chunk that has it, in which most stands before it.
"""

from __future__ import annotations

from collections.abc import Callable
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
    chunk of it. For a decoder nothing ends a text, and the token that begins it may be a piece: to
    look back at it is what decoders do where nothing else is to be found.
    """

    source: Tensor  # [chunks, length], the place in a text of each token of a chunk
    present: Tensor  # [chunks, length] bool
    text: Tensor  # [chunks], which text it is of
    chunk: Tensor  # [texts, tokens], the chunk from which each token's state is taken
    place: Tensor  # [texts, tokens], and the place in it

    @classmethod
    def of(cls, lengths: NDArray[np.int64], longest: int, *, looking_back: bool = False) -> Chunks:
        """Cut texts of so many tokens into chunks of at most `longest` tokens.

        >>> Chunks.of(np.array([7]), longest=5).source.tolist()
        [[0, 1, 2, 3, 6], [0, 3, 4, 5, 6]]
        >>> Chunks.of(np.array([7]), longest=5, looking_back=True).source.tolist()
        [[0, 1, 2, 3, 4], [0, 3, 4, 5, 6]]
        """
        texts: list[int] = []
        rows: list[NDArray[np.int64]] = []
        width = int(lengths.max())
        chunk = np.zeros((len(lengths), width), np.int64)
        place = np.zeros((len(lengths), width), np.int64)
        for text, length in enumerate(lengths):
            starts = _starts(int(length), longest, frame=1 if looking_back else 2)
            size = min(int(length), longest)
            tokens = np.arange(length)
            if looking_back:
                chosen = (tokens[:, None] < starts + size).argmax(axis=1)
            else:  # of a chunk from `start`: its center, and the chunk nearest to each token
                chosen = np.abs(tokens[:, None] - (starts + (size - 1) / 2)).argmin(axis=1)
            chunk[text, :length] = len(rows) + chosen
            place[text, :length] = tokens - starts[chosen]
            for start in starts:
                row = np.arange(start, start + size)
                row[0] = 0
                if not looking_back:
                    row[-1] = length - 1
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


def states_in_chunks(
    read: Callable[[Tensor, Tensor], Tensor],
    input_ids: Tensor,
    present: Tensor,
    longest: int | None,
    *,
    looking_back: bool = False,
) -> Tensor:
    """Token states [texts, tokens, hidden], of texts that are longer than `longest` from chunks.

    Args:
        read: gives the states of ids and present, [texts, tokens] both.
        longest: tokens that are read at once; None: any number.
    """
    if longest is None or input_ids.shape[1] <= longest:
        return read(input_ids, present)
    lengths = present.sum(dim=1).cpu().numpy()
    chunks = Chunks.of(lengths, longest, looking_back=looking_back)
    return chunks.join(read(chunks.cut(input_ids), chunks.present.to(present.device)))


def _starts(length: int, longest: int, frame: int) -> NDArray[np.int64]:
    """Where the chunks of a text begin, evenly spaced; `frame` tokens of each frame it."""
    if length <= longest:
        return np.zeros(1, np.int64)
    step = (longest - frame) - int((longest - frame) * OVERLAP)
    count = 1 + -(-(length - longest) // step)
    return np.linspace(0, length - longest, count).round().astype(np.int64)
