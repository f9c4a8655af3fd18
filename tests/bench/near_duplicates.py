"""The contamination guard's time a note, beside datasketch, and the search's.

Notes of about 10,000 characters, a tenth of them retold by test patients. Signing is measured on
the same hashed shingles for both libraries, and the whole guard apart; set CLINFUSE_BENCH_NOTES
for another number of notes than 4,000.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from datasketch import MinHash
from rensa import RMinHash

from tasks import tables
from tasks.ingest.config import GuardConfig
from tasks.ingest.minhash import shingles, sign
from tasks.ingest.near_duplicates import NotesOf, find_near_duplicates
from tasks.schemas import NOTES, SPLITS
from tests.bench.csv_to_parquet import _texts

_GOAL_MS = 5.0  # a note: the upper end of a trial with several libraries
_SAMPLE = 256
_COPIED_EVERY = 10
_WORDS = 15  # changed in a copy: similar by 0.94 and more


def rows() -> list[dict[str, Any]]:
    """Milliseconds a note: hashes to signatures, text to signatures, the whole guard."""
    notes = int(os.environ.get("CLINFUSE_BENCH_NOTES", "4000"))
    config = GuardConfig()
    texts = pa.array([text for _, text in zip(range(_SAMPLE), _texts(Random(7)), strict=False)])
    texts = texts.cast(pa.large_string())
    hashes, bounds = shingles(texts, config.shingle_words)
    ours = _milliseconds(lambda: _rensa(hashes, bounds, config.permutations))
    with tempfile.TemporaryDirectory() as folder:
        source = _write(Path(folder), notes)
        began = time.perf_counter()
        counts = find_near_duplicates(Path(folder) / "out", [source], config)
        whole = (time.perf_counter() - began) * 1000 / counts["notes"]
    if counts["dropped"] != notes // _COPIED_EVERY:
        raise AssertionError("the guard did not find each copy and nothing else")
    signed = _milliseconds(lambda: sign(texts, config.shingle_words, config.permutations))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        _row("hashed shingles to signatures", ours, peak)
        | _peer(lambda: _datasketch(hashes, bounds, config.permutations), ours),
        _row("text to signatures", signed, peak),
        _row(f"the whole guard, {counts['notes']} notes", whole, peak) | {"goal": _GOAL_MS},
    ]


def _row(what: str, milliseconds: float, peak: float) -> dict[str, Any]:
    return {"what": what, "unit": "ms a note", "ours": milliseconds, "peak_mib": peak}


def _peer(sign_all: Callable[[], object], ours: float) -> dict[str, Any]:
    peer = _milliseconds(sign_all)
    return {"peer": peer, "peer_name": "datasketch", "ratio": peer / ours}


def _milliseconds(sign_all: Callable[[], object]) -> float:
    """Of a note of the sample; the best of three turns."""
    turns = []
    for _ in range(3):
        began = time.perf_counter()
        sign_all()
        turns.append(time.perf_counter() - began)
    return min(turns) * 1000 / _SAMPLE


def _rensa(hashes: Any, bounds: Any, permutations: int) -> Any:
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, bounds.astype(np.uint64), permutations, 1
    )
    return np.array(matrix.to_rows(), np.uint32)


def _datasketch(hashes: Any, bounds: Any, permutations: int) -> Any:
    found = []
    for begin, end in pairwise(bounds):
        each = MinHash(permutations, hashfunc=lambda value: value & 0xFFFFFFFF)
        each.update_batch(hashes[begin:end])
        found.append(each.hashvalues)
    return np.array(found)


def _write(folder: Path, notes: int) -> NotesOf:
    """Notes of training patients, and copies by test patients with some words changed."""
    tables.write(folder / "notes" / "part-0.parquet", NOTES, _batches(notes))
    subjects = [*range(notes), *range(notes, notes + notes // _COPIED_EVERY)]
    names = ["train"] * notes + ["test"] * (notes // _COPIED_EVERY)
    splits = pa.table({"subject_id": subjects, "split": names}, schema=SPLITS)
    tables.write(folder / "splits" / "part-0.parquet", SPLITS, splits)
    return NotesOf(folder, "bench", folder)


def _batches(notes: int) -> Iterator[pa.RecordBatch]:
    draw = Random(8)
    for number, text in zip(range(notes), _texts(draw), strict=False):
        yield _note(number, text)
        if number % _COPIED_EVERY == 0:
            words = text.split(" ")
            begin = draw.randrange(max(len(words) - _WORDS, 1))
            words[begin : begin + _WORDS] = [f"other{word}" for word in range(_WORDS)]
            yield _note(notes + number // _COPIED_EVERY, " ".join(words))


def _note(subject: int, text: str) -> pa.RecordBatch:
    row = {"note_id": f"{subject}-DS-1", "subject_id": subject, "note_type": "DS", "text": text}
    return pa.RecordBatch.from_pylist([row], schema=NOTES)
