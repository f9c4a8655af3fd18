"""Stream a CSV file to record batches of a declared schema; rows that do not fit are rejected.

A block in which everything parses goes through pyarrow as a whole. Only a block that pyarrow
refuses is checked row by row, and its good rows go through pyarrow again, so that a row reads the
same whatever its neighbors are.
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
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from tasks.ingest.blocks import BLOCK_BYTES, Block, read_blocks, read_header
from tasks.ingest.column_names import located
from tasks.ingest.demands import Demands, Rule
from tasks.ingest.records import records
from tasks.ingest.rejects import NOT_UTF8, Rejects
from tasks.reporting import Reading, report
from tasks.threads import prefetched


@dataclass
class Reader:
    """Reads one file; `rejects` fills as the batches are taken.

    A column of the schema that may be null may also be missing: it is null throughout. `header`
    names the columns of a file without a header line.
    """

    path: Path
    schema: pa.Schema
    rejects: Rejects
    unique: str | None = None
    rules: Sequence[Rule] = ()
    block_bytes: int = BLOCK_BYTES
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    header: Sequence[str] | None = None
    _header: list[str] = field(init=False, repr=False)
    _present: pa.Schema = field(init=False, repr=False)  # the schema's columns that the file has
    _demands: Demands = field(init=False, repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good rows, in the file's order; rows = kept + rejected.

        Raises SourceError where the file cannot be read, a column is missing, or more rows are
        rejected than is allowed.
        """
        self._header = list(self.header or self._named_header())
        self._present = pa.schema([column for column in self.schema if column.name in self._header])
        self._demands = Demands(self.schema, self.rejects, self.unique, self.rules)
        blocks = read_blocks(self.path, self.block_bytes, headed=self.header is None)
        for block in prefetched(blocks):
            yield from self._good(block).to_batches()
            self.rejects.settle()
            report(Reading(100 * block.share_read[1], 100, f"% of {self.path.name}"))
        self.rejects.check()

    def table(self) -> pa.Table:
        """All good rows at once, for a table that fits in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def _named_header(self) -> list[str]:
        """The header, its columns renamed as in the schema; the others get unusable names."""
        names = read_header(self.path)
        header = [f"\0{index}" for index in range(len(names))]
        for name, index in located(self.path.name, names, self.schema, self.aliases).items():
            header[index] = name
        return header

    def _good(self, block: Block) -> pa.Table:
        table = None
        if block.starts is not None:
            table = _parse(block.content, self._header, self._present, len(block.starts))
        if table is None:
            table, lines = self._row_by_row(block)
        else:
            self.rejects.rows += table.num_rows
            lines = block.lines
        self.rejects.share_read = block.share_read[1]
        return self._demands.kept(table, lines)

    def _row_by_row(self, block: Block) -> tuple[pa.Table, Callable[[], NDArray[np.int64]]]:
        """The good rows of a block that pyarrow refused, and their line numbers [rows]."""
        columns = [(self._header.index(column.name), column) for column in self._present]
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        lines = []
        for record in records(block.content.tobytes()):
            if record.fields == []:
                continue
            line = block.first_line + record.line
            self.rejects.rows += 1
            if fault := _fault(record.fields, len(self._header), columns):
                self.rejects.share_read = block.share_at(record.end)
                self.rejects.add(line, *fault)
            elif record.fields is not None:
                writer.writerow([record.fields[index] for index, _ in columns])
                lines.append(line)
        data = np.frombuffer(text.getvalue().encode(), np.uint8)
        table = _parse(data, self._present.names, self._present, len(lines))
        if table is None:
            raise AssertionError("rows that parse one by one do not parse together")
        return table, lambda: np.array(lines, np.int64)


def _parse(
    data: NDArray[np.uint8], header: list[str], schema: pa.Schema, rows: int
) -> pa.Table | None:
    """The data as pyarrow reads it, in one block; None where it refuses a row or miscounts them.

    `newlines_in_values` is not needed: it only affects where pyarrow ends a block, which is known
    here, and line feeds within quotes belong to the value either way.
    """
    if not rows:
        return schema.empty_table()
    try:
        table = pacsv.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            pacsv.ReadOptions(column_names=header, block_size=len(data) + 1, use_threads=False),
            convert_options=pacsv.ConvertOptions(
                column_types=schema,
                include_columns=schema.names,
                null_values=[""],
                strings_can_be_null=True,  # MIMIC: an empty field is NULL
            ),
        )
    except pa.ArrowInvalid:  # its message quotes the row
        return None
    return table if table.num_rows == rows else None


def _fault(
    fields: list[str] | None, width: int, columns: list[tuple[int, pa.Field]]
) -> tuple[str | None, str] | None:
    """The column and the reason why a record cannot be parsed, or None."""
    if fields is None:
        return None, "is no CSV record"
    if len(fields) != width:
        return None, f"has {len(fields)} columns instead of {width}"
    for index, wanted in columns:
        cell = fields[index]
        if not cell.isascii() and not _is_unicode(cell):
            return wanted.name, NOT_UTF8
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
    """Whether pyarrow takes the cell; whole numbers in the usual form need no parsing."""
    if cell.isdigit() and cell.isascii() and len(cell) < 10 and pa.types.is_integer(kind):
        return True
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow([cell])
    data = np.frombuffer(text.getvalue().encode(), np.uint8)
    return _parse(data, ["cell"], pa.schema([("cell", kind)]), 1) is not None
