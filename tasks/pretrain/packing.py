"""Packing: documents of any length into sequences of one length, no token lost.

    documents  [a a a a] [b b] [c c c c c]      length 4
    sequences  [a a a a] [b b c c] [c c c .]    pieces start at 0 / 0, 2 / 0, 3 (padding)

A model that reads a sequence must not look across the start of a piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PADDING = -1  # the subject_id of a piece that is no document's
NO_PATIENT = 0  # the subject_id of a piece of a general text


@dataclass
class Packed:
    """One sequence; those of a corpus are of one length."""

    input_ids: NDArray[np.int32]  # [length]
    starts: list[int] = field(default_factory=list)  # where each piece starts
    subject_ids: list[int] = field(default_factory=list)  # whose each piece is


def pack(
    documents: Iterable[tuple[int, Sequence[int]]], length: int, *, pad: int, overlap: int = 0
) -> Iterator[Packed]:
    """Yield full sequences of `length` tokens; the last one is filled up with padding.

    Args:
        documents: (subject_id, token ids); a document that does not fit is cut, and goes on in
            the next sequence.
        overlap: how many of its last tokens a document that goes on repeats there. With 1 and a
            loss that skips the first token of each piece, every token but a document's first is
            scored once.

    >>> [packed.input_ids.tolist() for packed in pack([(7, [1, 2, 3]), (8, [4, 5])], 4, pad=0)]
    [[1, 2, 3, 4], [5, 0, 0, 0]]
    >>> [packed.starts for packed in pack([(7, [1, 2, 3]), (8, [4, 5])], 4, pad=0)]
    [[0, 3], [0, 1]]
    """
    if overlap >= length - 1:
        raise ValueError("the overlap leaves no room in a sequence")
    packed, filled = _empty(length, pad), 0
    for subject_id, ids in documents:
        taken = 0
        while taken < len(ids):
            room = length - filled
            piece = ids[taken : taken + room]
            packed.input_ids[filled : filled + len(piece)] = piece
            packed.starts.append(filled)
            packed.subject_ids.append(subject_id)
            filled += len(piece)
            taken += len(piece)
            if length - filled <= overlap:  # full, or too little room to add anything new
                yield _closed(packed, filled)
                packed, filled = _empty(length, pad), 0
                if taken < len(ids):
                    taken -= min(overlap, len(piece))
    if filled:
        yield _closed(packed, filled)


def chunks(
    documents: Iterable[tuple[int, Sequence[int]]],
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
            chunk = [*before, *ids[begin : begin + room], *after]
            packed = _empty(length, pad)
            packed.input_ids[: len(chunk)] = chunk
            packed.starts.append(0)
            packed.subject_ids.append(subject_id)
            yield _closed(packed, len(chunk))


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


def _empty(length: int, pad: int) -> Packed:
    return Packed(np.full(length, pad, dtype=np.int32))


def _closed(packed: Packed, filled: int) -> Packed:
    if filled < len(packed.input_ids):
        packed.starts.append(filled)
        packed.subject_ids.append(PADDING)
    return packed
