"""What the rows of a file must be like, whatever format it has; those that are not are rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ingest.key_set import KeySet
from tasks.ingest.rejects import Rejects

Lines = Callable[[], NDArray[np.int64]]  # of all rows of a block: asked for when one is rejected


@dataclass(frozen=True)
class Rule:
    """A further demand on the rows: `bad` flags those that break it."""

    column: str
    reason: str
    bad: Callable[[pa.Table], pa.Array | pa.ChunkedArray]


@dataclass
class Demands:
    """A value in every required column, a key that is new, and no rule broken."""

    schema: pa.Schema
    rejects: Rejects
    unique: str | None = None
    rules: Sequence[Rule] = ()
    _keys: KeySet = field(init=False, repr=False, default_factory=KeySet)

    def kept(self, table: pa.Table, lines: Lines) -> pa.Table:
        """The good rows of a block, in the schema's columns; a column that is not there is null."""
        for name in self.schema.names:
            if name not in table.column_names:
                empty = pa.nulls(table.num_rows, self.schema.field(name).type)
                table = table.append_column(name, empty)
        rows = _Rows(table.select(self.schema.names), lines, self.rejects)
        for name in self.schema.names:
            if not self.schema.field(name).nullable and rows.table[name].null_count:
                rows.reject(name, "is empty", _mask(rows.table[name].is_null()))
        for rule in self.rules:
            rows.reject(rule.column, rule.reason, _mask(rule.bad(rows.table)))
        if self.unique:
            rows.reject(self.unique, "occurs twice", self._keys.add(rows.table[self.unique]))
        return rows.table.cast(self.schema)


class _Rows:
    """The rows of a block that have passed so far."""

    def __init__(self, table: pa.Table, lines: Lines, rejects: Rejects) -> None:
        self.table = table
        self._lines = lines
        self._rows = np.arange(table.num_rows)
        self._rejects = rejects

    def reject(self, column: str, reason: str, bad: NDArray[np.bool_]) -> None:
        """Leave out the rows that are bad [rows]."""
        if not bad.any():
            return
        self._rejects.add(self._lines()[self._rows[bad]], column, reason)
        self.table = self.table.filter(pa.array(~bad))
        self._rows = self._rows[~bad]


def _mask(bad: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    return pc.fill_null(bad, False).to_numpy(zero_copy_only=False).astype(bool)
