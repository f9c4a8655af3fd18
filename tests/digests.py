"""What a deterministic step writes, as a few digits: other bytes under an old version are seen.

Numbers count to five digits, so that another processor's arithmetic does not.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def digest_of(folder: Path) -> str:
    """Of all tables below the folder: names, columns, types and rows in their order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path)
        schema = [(field.name, str(field.type)) for field in table.schema]
        rows = [_rounded(row) for row in table.to_pylist()]
        digest.update(
            json.dumps([str(path.relative_to(folder)), schema, rows], default=str).encode()
        )
    return digest.hexdigest()[:16]


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}") + 0.0  # of -0.0, 0.0
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
        case _:
            return value
