"""How a step's work is cut into shards: the bounds are fixed, whoever does them, so bytes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Counts = Mapping[str, Any]


class Spread(Protocol):
    """Calls a function with each shard's arguments and returns what it returned, in order."""

    def __call__(
        self, function: Callable[..., Counts], shards: Sequence[Mapping[str, Any]]
    ) -> Sequence[Counts]: ...


def one_by_one(
    function: Callable[..., Counts], shards: Sequence[Mapping[str, Any]]
) -> list[Counts]:
    """Do the shards in this process, one after another."""
    return [function(**shard) for shard in shards]


def part_of(table: Path, number: int = 0) -> Path:
    """The path of a part of a table, by its shard's number."""
    return table / f"part-{number}.parquet"
