"""What was scored, in the store: `scores/date=2026-11-27/batch-<id>/part-0.parquet`.

Beside each part lies `_scored.parquet`, which says which texts it scored; names that begin so are
passed over by those who read the folder as one table. Both come into being in one rename, so that
a text counts as scored just where its scores are, whenever the program was killed.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.store.folder import SCORES, sync

PART, SCORED = "part-0.parquet", "_scored.parquet"
_DAY = "date="
_BATCHES = f"{_DAY}*/batch-*"
_OF_A_TEXT = ("hadm_id", "note")

Texts = NDArray[np.uint64]


def fingerprints(arrivals: pa.Table) -> Texts:
    """A number for each admission with its text, [admissions].

    A note that comes late makes another text of its admission, and another number. Of a million
    texts two share one with a chance of 3e-8.

    Args:
        arrivals: with the columns hadm_id and note.
    """
    hashes = (
        hashlib.sha256(f"{hadm_id}\n{note}".encode()).digest()[:8]
        for hadm_id, note in zip(*(arrivals[name].to_pylist() for name in _OF_A_TEXT), strict=True)
    )
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


class Ledger:
    """The texts that were scored before, by model and outcome."""

    def __init__(self, root: Path) -> None:
        """Read it from a store."""
        columns = ["text", "model", "digest", "outcome"]
        paths = sorted((root / SCORES).glob(f"{_BATCHES}/{SCORED}"))
        parts = [tables.read(path, schemas.SCORED, columns) for path in paths]
        wanted = pa.schema([schemas.SCORED.field(name) for name in columns])
        self._scored = pa.concat_tables(parts) if parts else wanted.empty_table()

    def by(self, model: str, digest: str, outcome: str) -> Texts:
        """Those whose outcome a model has scored; another one of its key counts for nothing."""
        texts: Texts = of_model(self._scored, model, digest, outcome)["text"].to_numpy()
        return texts


def of_model(scored: pa.Table, model: str, digest: str, outcome: str) -> pa.Table:
    """The rows of SCORED that are of a model and an outcome."""
    wanted = {"model": model, "digest": digest, "outcome": outcome}
    for name, value in wanted.items():
        scored = scored.filter(pc.equal(scored[name], value))
    return scored


def commit(root: Path, making: Path, scores: pa.Table, scored: pa.Table) -> None:
    """Put a batch into the store, whole or not at all.

    Args:
        making: a folder on the store's file system, which is emptied.
        scores, scored: of the schemas SCORES and SCORED.
    """
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for name, schema, table in (
        (PART, schemas.SCORES, scores),
        (SCORED, schemas.SCORED, scored),
    ):
        tables.write(making / name, schema, table)
        sync(making / name)
    sync(making)
    day = root / SCORES / f"{_DAY}{datetime.now(UTC):%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    making.rename(day / f"batch-{uuid.uuid4().hex}")
    sync(day)


def batches_since(root: Path, first: date) -> Iterator[Path]:
    """The folders of what was scored on that day and later."""
    for path in sorted((root / SCORES).glob(_BATCHES)):
        if path.parent.name.removeprefix(_DAY) >= first.isoformat():
            yield path
