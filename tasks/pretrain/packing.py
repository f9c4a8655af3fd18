"""Packing: documents of any length into sequences of one length, no token lost.

    documents  [a a a a a] [b b b] [c c] [d]      length 4
    sequences  [b b b d] [c c a a] [a a a .]      best fit; pieces start at 0, 3 / 0, 2 / 0

A document that fits into a sequence is hardly ever cut: a gap is filled by the beginning of one
that is longer than a sequence, and must be cut anyway. A model that reads a sequence must not look
across the start of a piece.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PADDING = -1  # the subject_id of a piece that is no document's
NO_PATIENT = 0  # the subject_id of a piece of a general text
WAITING = 4096  # documents that await a sequence; with 1024, 4% more pieces
GAP_SHARE = 1 / 256  # of a sequence: a smaller gap is padded, so that 99.6% are always filled

TokenIds = Sequence[int] | NDArray[np.int32]
Document = tuple[int, NDArray[np.int32]]  # subject_id, token ids; or what is left of it


@dataclass
class Packed:
    """One sequence; those of a corpus are of one length."""

    input_ids: NDArray[np.int32]  # [length]
    starts: list[int] = field(default_factory=list)  # where each piece starts
    subject_ids: list[int] = field(default_factory=list)  # whose each piece is


def pack(
    documents: Iterable[tuple[int, TokenIds]],
    length: int,
    *,
    pad: int,
    overlap: int = 0,
    most_waiting: int = WAITING,
) -> Iterator[Packed]:
    """Yield sequences of `length` tokens, all but full; the last one is filled up with padding.

    A sequence takes the longest waiting document that fits, again and again. Where none does, it
    takes the beginning of one that is longer than a sequence, or else of any.

    Args:
        documents: (subject_id, token ids).
        overlap: how many of its last tokens a document that goes on in another sequence repeats
            there. With 1 and a loss that skips the first token of each piece, every token but a
            document's first is scored once.
        most_waiting: documents that are held in memory, if they fill a sequence.

    >>> documents = [(7, [1, 2, 3, 4, 5]), (8, [6, 7, 8]), (9, [9])]
    >>> [packed.input_ids.tolist() for packed in pack(documents, 4, pad=0)]
    [[6, 7, 8, 9], [1, 2, 3, 4], [5, 0, 0, 0]]
    >>> [packed.starts for packed in pack(documents, 4, pad=0)]
    [[0, 3], [0], [0, 1]]
    """
    if overlap >= length - 1:
        raise ValueError("the overlap leaves no room in a sequence")
    waiting = _Waiting(length)
    for subject_id, given in documents:
        ids = np.asarray(given, dtype=np.int32)
        while len(ids) > 2 * length:  # the last cut of a document is left to where it fills a gap
            yield _sequence([(subject_id, ids[:length])], length, pad)
            ids = ids[length - overlap :]
        if len(ids):
            waiting.add((subject_id, ids))
        while waiting.count > most_waiting and waiting.tokens >= length:
            yield _sequence(_filling(waiting, length, overlap), length, pad)
    while waiting.count:
        yield _sequence(_filling(waiting, length, overlap), length, pad)


def chunks(
    documents: Iterable[tuple[int, TokenIds]],
    length: int,
    *,
    pad: int,
    before: Sequence[int],
    after: Sequence[int],
) -> Iterator[Packed]:
    """Yield sequences of `length` tokens that hold a chunk of one document each, then padding.

    For models in which every token of a sequence sees all others.

    Args:
        documents: (subject_id, token ids), without special tokens.
        before, after: special tokens around each chunk.

    >>> made = chunks([(7, [1, 2, 3])], 4, pad=0, before=[8], after=[9])
    >>> [packed.input_ids.tolist() for packed in made]
    [[8, 1, 2, 9], [8, 3, 9, 0]]
    """
    room = length - len(before) - len(after)
    for subject_id, ids in documents:
        for begin in range(0, len(ids), room):
            chunk = np.concatenate([before, ids[begin : begin + room], after]).astype(np.int32)
            yield _sequence([(subject_id, chunk)], length, pad)


def alone(packed: Packed) -> Iterator[Packed]:
    """Each piece in a sequence of its own, as long as the piece; padding left out."""
    for subject_id, ids in pieces(packed):
        yield Packed(ids, [0], [subject_id])


def pieces(packed: Packed) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """The (subject_id, tokens) of each piece, padding left out."""
    ends = [*packed.starts[1:], len(packed.input_ids)]
    for subject_id, start, end in zip(packed.subject_ids, packed.starts, ends, strict=True):
        if subject_id != PADDING:
            yield subject_id, packed.input_ids[start:end]


class _Waiting:
    """Documents that await a sequence, by length; of equal ones the first to come goes first."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._documents: dict[int, deque[Document]] = {}
        self._lengths: list[int] = []  # of the documents, sorted, each once
        self.count = self.tokens = 0

    def add(self, document: Document) -> None:
        length = len(document[1])
        if length not in self._documents:
            self._documents[length] = deque()
            insort(self._lengths, length)
        self._documents[length].append(document)
        self.count += 1
        self.tokens += length

    def best(self, room: int) -> Document | None:
        """Take out the longest document that fits."""
        index = bisect_right(self._lengths, room) - 1
        return self._taken(index) if index >= 0 else None

    def to_cut(self, room: int) -> Document | None:
        """Take out the document that is best cut: longer than a sequence, if there is such a one.

        Of these the longest of which a sequence holds the rest, or else the shortest.
        """
        if not self._lengths:
            return None
        index = bisect_right(self._lengths, self._length + room) - 1
        fits = index >= 0 and self._lengths[index] <= self._length
        if index < 0 or (fits and index + 1 < len(self._lengths)):
            index += 1
        return self._taken(index)

    def _taken(self, index: int) -> Document:
        length = self._lengths[index]
        document = self._documents[length].popleft()
        if not self._documents[length]:
            del self._documents[length], self._lengths[index]
        self.count -= 1
        self.tokens -= length
        return document


def _filling(waiting: _Waiting, length: int, overlap: int) -> list[Document]:
    """Take out what fills one sequence; what is left of a document that is cut waits again."""
    taken: list[Document] = []
    room, smallest = length, max(overlap, int(length * GAP_SHARE))
    while room:
        document = waiting.best(room)
        if document is None:
            if room <= smallest or (document := waiting.to_cut(room)) is None:
                break
            subject_id, ids = document
            waiting.add((subject_id, ids[room - overlap :]))
            document = subject_id, ids[:room]
        taken.append(document)
        room -= len(document[1])
    return taken


def _sequence(documents: Sequence[Document], length: int, pad: int) -> Packed:
    """Lay the documents into a sequence, one after another, and padding after them."""
    packed, filled = Packed(np.full(length, pad, dtype=np.int32)), 0
    for subject_id, ids in documents:
        packed.input_ids[filled : filled + len(ids)] = ids
        packed.starts.append(filled)
        packed.subject_ids.append(subject_id)
        filled += len(ids)
    if filled < length:
        packed.starts.append(filled)
        packed.subject_ids.append(PADDING)
    return packed
