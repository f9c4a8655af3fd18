"""Admission notes to token ids, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tasks import schemas, tables
from tasks.data.encoder import Encoder
from tasks.data.tokenizer import frame_of, read_tokenizer
from tasks.shards import Spread, one_by_one

BATCH_ROWS = 1024
COUNTED = ("admissions", "tokens", "notes_cut", "tokens_cut")


def encode(
    out: Path,
    cohort: Path,
    tokenizer: Path,
    max_tokens: int,
    spread: Spread = one_by_one,
    *,
    tail_tokens: int = 0,
) -> dict[str, int]:
    """Write out/encoded: every admission's note as token ids, cut to `max_tokens`.

    Of a longer note the last `tail_tokens` are kept, and the first up to `max_tokens` together.

    Returns counts of admissions and tokens, and of the notes and tokens that were cut.
    Raises ModelError where there is no tokenizer.
    """
    # those with which an encoder's texts end stay the last
    last = max(tail_tokens, len(frame_of(read_tokenizer(tokenizer))[1]))
    given = {"out": out, "tokenizer": tokenizer, "max_tokens": max_tokens, "last": last}
    parts = tables.parts(cohort / "admissions")
    parts_counts = spread(encode_part, [{**given, "part": part} for part in parts])
    return {name: sum(counts[name] for counts in parts_counts) for name in COUNTED}


def encode_part(
    out: Path, part: Path, tokenizer: Path, max_tokens: int, last: int
) -> dict[str, int]:
    """Encode one part of the cohort's admissions into the part of the same name."""
    counts = dict.fromkeys(COUNTED, 0)
    rows = _encoded(read_tokenizer(tokenizer), part, max_tokens, last, counts)
    tables.write(out / "encoded" / part.name, schemas.ENCODED, rows)
    return counts


def cut(ids: NDArray[np.int32], count: int, last: int) -> NDArray[np.int32]:
    """At most `count` ids of a note, `last` of them its last, the others its first."""
    if len(ids) <= count:
        return ids
    return np.concatenate([ids[: count - last], ids[len(ids) - last :]])


def _encoded(
    tokenizer: Tokenizer, part: Path, max_tokens: int, last: int, counts: dict[str, int]
) -> Iterator[pa.RecordBatch]:
    encoder = Encoder(tokenizer)
    columns = ["hadm_id", "split", "note"]
    for batch in tables.stream(part, schemas.ADMISSIONS, columns, BATCH_ROWS):
        ids_of_notes = encoder.encode(batch.column("note").to_pylist())
        kept = [cut(ids, max_tokens, last) for ids in ids_of_notes]
        counts["admissions"] += len(ids_of_notes)
        counts["tokens"] += sum(map(len, kept))
        counts["notes_cut"] += sum(len(ids) > max_tokens for ids in ids_of_notes)
        counts["tokens_cut"] += sum(map(len, ids_of_notes)) - sum(map(len, kept))
        yield pa.record_batch(
            [batch.column("hadm_id"), batch.column("split"), pa.array(kept, pa.list_(pa.int32()))],
            schema=schemas.ENCODED,
        )
