"""Texts longer than a base reads: overlapping chunks, and their states joined again.

Of an encoder a piece's state is taken from the chunk in which it lies most centrally: near a
chunk's edge it has seen half of its neighbors only. Of a decoder, which looks back, it is taken
from the first chunk that has it, in which most stands before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.model.bases.overlap import chunk_starts


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
            starts = chunk_starts(int(length), longest, looking_back=looking_back)
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


@dataclass(frozen=True)
class RowsRead:
    """The rows that a base reads of some texts: the texts themselves, or their chunks."""

    input_ids: Tensor  # [rows, length]
    present: Tensor  # [rows, length] bool, False at padding
    chunks: Chunks | None = None  # None: a row is a text

    @classmethod
    def of(
        cls, input_ids: Tensor, present: Tensor, longest: int | None, *, looking_back: bool = False
    ) -> RowsRead:
        """Cut texts where one is longer than `longest`.

        Args:
            input_ids, present: [texts, tokens].
            longest: tokens that are read at once; None: any number.
        """
        if longest is None or input_ids.shape[1] <= longest:
            return cls(input_ids, present)
        chunks = Chunks.of(present.sum(dim=1).cpu().numpy(), longest, looking_back=looking_back)
        return cls(chunks.cut(input_ids), chunks.present.to(present.device), chunks)

    def join(self, states: Tensor) -> Tensor:
        """States [texts, tokens, hidden] of those of the rows [rows, length, hidden]."""
        return states if self.chunks is None else self.chunks.join(states)

    def by_text(self, states: Tensor) -> tuple[Tensor, ...]:
        """Of each text the states of its rows, [tokens, hidden], one row after another."""
        tokens = self.present.sum(dim=1).cpu()
        if self.chunks is not None:
            tokens = torch.zeros(int(self.chunks.text[-1]) + 1, dtype=tokens.dtype).index_add(
                0, self.chunks.text, tokens
            )
        return torch.split(states[self.present], tokens.tolist())
