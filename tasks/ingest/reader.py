"""Stream a CSV file to record batches of a declared schema; rows that do not fit are rejected.

A block in which everything parses goes whole through pyarrow. Only a block that pyarrow refuses is
gone through row by row, and what is good of it goes through pyarrow again, so that a row reads
the same whatever stands beside it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from tasks.errors import SourceError
from tasks.ingest.ahead import ahead
from tasks.ingest.blocks import BLOCK_BYTES, Block, read_blocks, read_header, records
from tasks.ingest.rejects import Rejects


@dataclass(frozen=True)
class Rule:
    """A further demand on a row: `bad` says of each row whether it breaks it."""

    column: str
    reason: str
    bad: Callable[[pa.Table], pa.Array | pa.ChunkedArray]


@dataclass
class Reader:
    """Reads one file; `rejects` fills as the batches are taken."""

    path: Path
    schema: pa.Schema
    rejects: Rejects
    unique: str | None = None
    rules: Sequence[Rule] = ()
    block_bytes: int = BLOCK_BYTES
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _header: list[str] = field(init=False, repr=False)
    _seen: set[object] = field(init=False, repr=False, default_factory=set)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good rows, in the file's order; rows = kept + rejected.

        Raises SourceError where the file cannot be read, a column is missing, or, at the end,
        more rows than allowed were rejected.
        """
        self._header = _named(self.path, self.schema, self.aliases)
        for block in ahead(read_blocks(self.path, self.block_bytes)):
            yield from self._good(block).to_batches()
        self.rejects.check()

    def table(self) -> pa.Table:
        """All good rows at once, for a table that fits in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def _good(self, block: Block) -> pa.Table:
        table, lines = None, block.lines
        if lines is not None:
            table = _parse(block.data, self._header, self.schema)
        if table is None or lines is None or table.num_rows != len(lines):
            table, lines = self._row_by_row(block)
        else:
            self.rejects.rows += len(lines)
        return self._obeying(table, lines)

    def _row_by_row(self, block: Block) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows of a block that pyarrow refused which it takes, and their lines [rows]."""
        places = [(self._header.index(name), self.schema.field(name)) for name in self.schema.names]
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        lines = []
        for record in records(block.data):
            if record.fields == []:
                continue
            line = block.first_line + record.line
            self.rejects.rows += 1
            if fault := _fault(record.fields, len(self._header), places):
                self.rejects.add(line, *fault)
            elif record.fields is not None:
                writer.writerow([record.fields[place] for place, _ in places])
                lines.append(line)
        table = _parse(text.getvalue().encode(), self.schema.names, self.schema)
        if table is None or table.num_rows != len(lines):
            raise AssertionError("rows found good one by one do not parse together")
        return table, np.array(lines, np.int64)

    def _obeying(self, table: pa.Table, lines: NDArray[np.int64]) -> pa.Table:
        """The rows with a value in every required column, a new key, and no rule broken."""
        for name in self.schema.names:
            if not self.schema.field(name).nullable and table[name].null_count:
                table, lines = self._reject(table, lines, name, "is empty", table[name].is_null())
        for rule in self.rules:
            bad = pc.fill_null(rule.bad(table), False)
            table, lines = self._reject(table, lines, rule.column, rule.reason, bad)
        if self.unique:
            keys = table[self.unique].to_pylist()
            if len(set(keys)) == len(keys) and self._seen.isdisjoint(keys):
                self._seen.update(keys)
            else:
                bad = pa.array([self._was_seen(key) for key in keys], pa.bool_())
                table, lines = self._reject(table, lines, self.unique, "occurs twice", bad)
        return table.cast(self.schema)

    def _was_seen(self, key: object) -> bool:
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) == before

    def _reject(
        self,
        table: pa.Table,
        lines: NDArray[np.int64],
        column: str,
        reason: str,
        bad: pa.Array | pa.ChunkedArray,
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        mask = bad.to_numpy(zero_copy_only=False).astype(bool)
        if not mask.any():
            return table, lines
        for line in lines[mask].tolist():
            self.rejects.add(line, column, reason)
        return table.filter(pa.array(~mask)), lines[~mask]


def _named(path: Path, schema: pa.Schema, aliases: Mapping[str, Sequence[str]]) -> list[str]:
    """The header, with the schema's own names of the columns in it.

    The real demo has some columns in upper case; `aliases` are other names of a column. Raises
    SourceError where one is missing or stands twice.
    """
    wanted = {
        found.casefold(): name for name in schema.names for found in (name, *aliases.get(name, ()))
    }
    found = enumerate(read_header(path))
    header = [wanted.get(name.casefold(), f"\0{place}") for place, name in found]
    for name in schema.names:
        if header.count(name) != 1:
            fault = "lacks the column" if name not in header else "has more than one column"
            raise SourceError(f"{path.name} {fault} {name}; correct its header line")
    return header


def _parse(data: bytes, header: list[str], schema: pa.Schema) -> pa.Table | None:
    """The data as pyarrow reads it, in one block; None where it refuses a row."""
    if not data.strip():
        return schema.empty_table()
    try:
        return pacsv.read_csv(
            pa.BufferReader(data),
            pacsv.ReadOptions(column_names=header, block_size=len(data) + 1, use_threads=False),
            pacsv.ParseOptions(newlines_in_values=True),
            pacsv.ConvertOptions(
                column_types=schema,
                include_columns=schema.names,
                null_values=[""],
                strings_can_be_null=True,  # MIMIC: an empty field is NULL
            ),
        )
    except pa.ArrowInvalid:  # its message quotes the row
        return None


def _fault(
    fields: list[str] | None, columns: int, places: list[tuple[int, pa.Field]]
) -> tuple[str | None, str] | None:
    """The column and the reason why a record cannot be parsed, or None."""
    if fields is None:
        return None, "is no CSV record"
    if len(fields) != columns:
        return None, f"has {len(fields)} columns instead of {columns}"
    for place, wanted in places:
        cell = fields[place]
        if not cell.isascii() and not _is_unicode(cell):
            return wanted.name, "is not UTF-8"
        is_text = pa.types.is_string(wanted.type) or pa.types.is_large_string(wanted.type)
        if not is_text and not _parses(cell, wanted.type):
            kind = "a time" if pa.types.is_timestamp(wanted.type) else "a whole number"
            return wanted.name, f"is not {kind}"
    return None


def _is_unicode(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(1 << 16)
def _parses(cell: str, kind: pa.DataType) -> bool:
    """Whether pyarrow takes the cell; whole numbers in the usual form are told at sight."""
    if cell.isdigit() and cell.isascii() and len(cell) < 10 and pa.types.is_integer(kind):
        return True
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow([cell])
    return _parse(text.getvalue().encode(), ["cell"], pa.schema([("cell", kind)])) is not None
