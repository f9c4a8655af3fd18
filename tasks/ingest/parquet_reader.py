"""Stream a Parquet file to record batches of a declared schema; rows that do not fit are rejected.

What `reader.py` does with CSV. A column may be stored as another type that says the same, such as
days for times or numbers for names; a list of texts becomes one text, with END after each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import SourceError
from tasks.ingest.blocks import read_header
from tasks.ingest.column_names import located
from tasks.ingest.demands import Demands, Lines, Rule
from tasks.ingest.rejects import NOT_UTF8, Rejects
from tasks.reporting import Reading, report

SUFFIX = ".parquet"
END = "\x1f"  # of each text of a list
_ROWS_AT_ONCE = 1024  # notes of 10 kB: 10 MB
_FIRST_LINE = 2  # as in a CSV file with a header, and one line a row
_REASONS = {pa.timestamp("us"): "is not a time"} | {
    kind: "is not a whole number" for kind in (pa.int32(), pa.int64())
}
_BUFFER_BYTES = 1 << 20  # else a whole column of a row group is read at once


def is_parquet(path: Path) -> bool:
    """Whether the file is read as Parquet, by its name."""
    return path.name.casefold().endswith(SUFFIX)


def column_names(path: Path) -> list[str]:
    """The names of a table's columns, of a CSV or a Parquet file; SourceError where it has none."""
    if not is_parquet(path):
        return read_header(path)
    with _opened(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


@dataclass
class ParquetReader:
    """Reads one file; `rejects` fills as the batches are taken. The fields are those of Reader."""

    path: Path
    schema: pa.Schema
    rejects: Rejects
    unique: str | None = None
    rules: Sequence[Rule] = ()
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good rows, in the file's order; rows = kept + rejected. Raises as Reader does.

        The first row counts as line 2.
        """
        demands = Demands(self.schema, self.rejects, self.unique, self.rules)
        with _opened(self.path) as file:
            names = file.schema_arrow.names
            places = located(self.path.name, names, self.schema, self.aliases)
            columns = [names[index] for index in places.values()]
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                read = {name: batch[column] for name, column in zip(places, columns, strict=True)}
                yield from demands.kept(*self._typed(read, batch.num_rows)).to_batches()
                self.rejects.settle()
                share = self.rejects.rows / max(file.metadata.num_rows, 1)
                report(Reading(100 * share, 100, f"% of {self.path.name}"))
        self.rejects.check()

    def _typed(self, read: Mapping[str, pa.Array], count: int) -> tuple[pa.Table, Lines]:
        """The rows in the schema's types, and their lines; those with other values are rejected."""
        lines = np.arange(count) + self.rejects.rows + _FIRST_LINE
        self.rejects.rows += count
        good, typed = np.ones(count, bool), {}
        for name, column in read.items():
            wanted = self.schema.field(name).type
            typed[name], bad = _cast(column, wanted)
            if (bad & good).any():
                self.rejects.add(lines[bad & good], name, _reason(column.type, wanted))
                good &= ~bad
        kept = lines[good]
        return pa.table(typed).filter(pa.array(good)), lambda: kept


def _reason(stored: pa.DataType, wanted: pa.DataType) -> str:
    """Why a value has no form of a type."""
    is_text = pa.types.is_nested(stored) or wanted in _REASONS
    return _REASONS.get(wanted, "is not a text") if is_text else NOT_UTF8


def _cast(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The column in another type, null where a value has no such form; and where that is."""
    column = _plain(column)
    try:
        cast = _in_type(column, wanted)
        cast.validate(full=True)
    except (pa.ArrowException, ValueError):  # its message may quote a value
        cells = [_cell(column[index : index + 1], wanted) for index in range(len(column))]
        bad = [cell is None for cell in cells]
        nothing = pa.nulls(1, wanted)
        return pa.concat_arrays([nothing if cell is None else cell for cell in cells]), np.array(
            bad
        )
    return cast, np.zeros(len(column), bool)


def _cell(value: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """One value, as an array of it, in another type; None where it has no such form."""
    try:
        cast = _in_type(value, wanted)
        cast.validate(full=True)
    except (pa.ArrowException, ValueError):
        return None
    return cast


def _in_type(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(wanted):
        if pa.types.is_timestamp(column.type):
            local = pc.local_timestamp(column) if column.type.tz else column
            return local.cast(wanted, safe=False)  # nanoseconds are cut
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            raise pa.ArrowInvalid("a number is no time")
    return column.cast(wanted)


def _plain(column: pa.Array) -> pa.Array:
    """The column without a dictionary; a list of texts as one text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return column
    texts = column.cast(pa.list_(pa.string()))
    ended = pc.binary_join_element_wise(pc.binary_join(texts, END), "", END)
    return pc.if_else(pc.equal(pc.list_value_length(texts), 0), END, ended)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:  # its message may quote a value
        raise SourceError(
            f"{path.name} cannot be read as Parquet ({type(error).__name__}); check the file and "
            "its permissions, or save the table as CSV"
        ) from None
