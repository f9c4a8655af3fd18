"""Admission notes to token ids, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from tokenizers import Encoding, Tokenizer

from tasks import schemas, tables
from tasks.data.tokenizer import read_tokenizer
from tasks.shards import Spread, one_by_one

BATCH_ROWS = 1024
COUNTED = ("admissions", "tokens", "notes_cut", "tokens_cut")


def encode(
    out: Path, cohort: Path, tokenizer: Path, max_tokens: int, spread: Spread = one_by_one
) -> dict[str, int]:
    """Write out/encoded: every admission's note as token ids, cut after `max_tokens`.

    Returns counts of admissions and tokens, and of the notes and tokens that were cut.
    Raises ModelError where there is no tokenizer.
    """
    read_tokenizer(tokenizer)
    given = {"out": out, "tokenizer": tokenizer, "max_tokens": max_tokens}
    parts = tables.parts(cohort / "admissions")
    parts_counts = spread(encode_part, [{**given, "part": part} for part in parts])
    return {name: sum(counts[name] for counts in parts_counts) for name in COUNTED}


def encode_part(out: Path, part: Path, tokenizer: Path, max_tokens: int) -> dict[str, int]:
    """Encode one part of the cohort's admissions into the part of the same name."""
    encoder = read_tokenizer(tokenizer)
    counts = dict.fromkeys(COUNTED, 0)
    rows = _encoded(encoder, part, max_tokens, counts)
    tables.write(out / "encoded" / part.name, schemas.ENCODED, rows)
    return counts


def _encoded(
    encoder: Tokenizer, part: Path, max_tokens: int, counts: dict[str, int]
) -> Iterator[pa.RecordBatch]:
    columns = ["hadm_id", "split", "note"]
    for batch in tables.stream(part, schemas.ADMISSIONS, columns, BATCH_ROWS):
        notes = batch.column("note").to_pylist()
        encodings = encoder.encode_batch_fast(notes)
        ids_of_notes = [encoding.ids for encoding in encodings]
        kept = [_first(encoding, max_tokens) for encoding in encodings]
        counts["admissions"] += len(ids_of_notes)
        counts["tokens"] += sum(map(len, kept))
        counts["notes_cut"] += sum(len(ids) > max_tokens for ids in ids_of_notes)
        counts["tokens_cut"] += sum(map(len, ids_of_notes)) - sum(map(len, kept))
        yield pa.record_batch(
            [batch.column("hadm_id"), batch.column("split"), pa.array(kept, pa.list_(pa.int32()))],
            schema=schemas.ENCODED,
        )


def _first(encoding: Encoding, count: int) -> list[int]:
    """The first ids; the control token with which an encoder's texts end stays their last."""
    ids: list[int] = encoding.ids
    if len(ids) <= count:
        return ids
    ends = bool(encoding.special_tokens_mask[-1])
    return [*ids[: count - ends], *ids[len(ids) - ends :]]
