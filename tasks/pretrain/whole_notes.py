"""Whole notes in tokens, and the windows in which a model reads one that is longer than it reads.

    a note     [a b c d e f g]     windows of 4 tokens, 2 apart
    windows    [a b c d]           scored: b c d
                   [c d e f]       scored:     e f
                       [e f g]     scored:       g

Every token but a note's first is scored once, after at least (length - stride) others of its note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import SourceError
from tasks.pretrain.corpus import in_groups

TABLE = "tokenized"
_NOTES_AT_ONCE = 128  # in a batch, all of which one rank reads


@dataclass(frozen=True)
class Window:
    """A part of a note."""

    begin: int
    end: int
    scored: int  # the first token that no earlier window scored


def windows(tokens: int, length: int, stride: int) -> Iterator[Window]:
    """The windows of a note of so many tokens.

    >>> [(window.begin, window.end, window.scored) for window in windows(7, 4, 2)]
    [(0, 4, 1), (2, 6, 4), (4, 7, 6)]
    """
    begin, scored = 0, 1
    while scored < tokens:
        end = min(begin + length, tokens)
        yield Window(begin, end, scored)
        begin, scored = begin + stride, end


@dataclass(frozen=True)
class Tokenized:
    """Some notes; one row of the table each."""

    subject_ids: NDArray[np.int64]  # [notes]
    sizes: NDArray[np.int64]  # [notes], UTF-8 bytes that the tokens after the first stand for
    input_ids: list[NDArray[np.int32]]  # [notes] of [tokens]


def write_tokenized(
    out: Path, documents: Iterable[tuple[int, str]], tokenizer: LoadedTokenizer, *, framed: bool
) -> dict[str, int]:
    """Write the table of these notes; return its counts. Raises SourceError where there is none.

    Args:
        documents: (subject_id, text).
        framed: whether a note begins and ends as a decoder is trained on it. An encoder's chunks
            are framed one by one when they are read.
    """
    counts = {"notes": 0, "tokens": 0}

    def batches() -> Iterator[pa.RecordBatch]:
        for group in in_groups(documents, _NOTES_AT_ONCE):
            encoded = [_encoded(tokenizer, text, framed=framed) for _, text in group]
            counts["notes"] += len(group)
            counts["tokens"] += sum(len(ids) for ids, _ in encoded)
            rows = [
                {"subject_id": subject_id, "bytes": size, "input_ids": ids}
                for (subject_id, _), (ids, size) in zip(group, encoded, strict=True)
            ]
            yield pa.RecordBatch.from_pylist(rows, schemas.TOKENIZED)

    if not tables.write(out / TABLE / "part-0.parquet", schemas.TOKENIZED, batches()):
        raise SourceError("there is no note to measure; check the notes and the splits")
    return counts


def read_tokenized(folder: Path, rank: int = 0, size: int = 1) -> Iterator[Tokenized]:
    """A rank's share of the notes, in batches."""
    stream = tables.stream(folder / TABLE, schemas.TOKENIZED, batch_rows=_NOTES_AT_ONCE)
    for number, batch in enumerate(stream):
        if number % size == rank:
            yield Tokenized(
                batch["subject_id"].to_numpy(),
                batch["bytes"].to_numpy(),
                [np.asarray(ids.values, np.int32) for ids in batch["input_ids"]],
            )


def notes_in(folder: Path) -> int:
    """How many notes there are."""
    return tables.rows(folder / TABLE)


def _encoded(tokenizer: LoadedTokenizer, text: str, *, framed: bool) -> tuple[list[int], int]:
    """A note's ids, and the bytes of the text after the first of them."""
    encoding = tokenizer.tokenizer.encode(text, add_special_tokens=framed)
    ids = encoding.ids
    if framed and (not ids or ids[-1] != tokenizer.eos):
        ids.append(tokenizer.eos)
    # a marker at the beginning stands for no text: its offsets are 0, 0
    first = encoding.offsets[0][1] if framed and encoding.offsets else 0
    return ids, len(text[first:].encode())
