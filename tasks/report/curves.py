"""The curves of a run, by outcome, variant and kind of curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.measures.reliability import Point


class Curves:
    """Every curve of a run."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._points: dict[tuple[str, str, str], list[Point]] = {}
        for row in rows:
            low, high = (math.nan if row[end] is None else row[end] for end in ("low", "high"))
            point = Point(row["x"], row["y"], low, high, row["n"])
            name = (row["curve"], row["variant"], row["outcome"])
            self._points.setdefault(name, []).append(point)

    @classmethod
    def read(cls, path: Path) -> Curves:
        return cls(tables.read(path, schemas.CURVES).to_pylist())

    def get(self, curve: str, variant: str, outcome: str) -> list[Point]:
        """The curve's points in the order of x; empty where it was not drawn."""
        return self._points.get((curve, variant, outcome), [])
