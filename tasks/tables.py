"""Parquet in the store: zstd, with checksums written and verified, streamed."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import StoreError
from tasks.reporting import Reading, report

ROW_GROUP_ROWS = 4096
PART_BYTES = 32 << 20  # as Arrow holds them: 3,000 discharge notes, 12 MB of file
_NO_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
_WRITERS = 2  # compressing takes as long as all before it; each holds a part in memory


def write(
    path: Path, schema: pa.Schema, batches: pa.Table | Iterable[pa.RecordBatch | pa.Table]
) -> int:
    """Write the batches as one Parquet file of that schema; return the number of rows.

    Rows are gathered into row groups of ROW_GROUP_ROWS, so memory does not grow with the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(batches, pa.Table):
        batches = batches.to_batches()
    waiting: list[pa.RecordBatch] = []
    rows = held = 0
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True, store_schema=True
    ) as writer:
        for batch in batches:
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            for piece in table.select(schema.names).cast(schema).to_batches():
                waiting.append(piece)
                held += piece.num_rows
                rows += piece.num_rows
            if held >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting, schema), ROW_GROUP_ROWS)
                waiting, held = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema), ROW_GROUP_ROWS)
    return rows


def write_parts(folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write the batches as parts of about PART_BYTES, two at a time; return the number of rows.

    For a table whose texts take longer to compress than to read.
    """
    rows, writing = 0, deque[Future[int]]()
    with ThreadPoolExecutor(_WRITERS) as threads:
        for number, part in enumerate(_portions(batches)):
            if len(writing) == _WRITERS:
                rows += writing.popleft().result()
            path = folder / f"part-{number}.parquet"
            writing.append(threads.submit(write, path, schema, part))
        return rows + sum(part.result() for part in writing)


def _portions(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches in lists of about PART_BYTES; at least one, which may be empty."""
    held, held_bytes, yielded = [], 0, False
    for batch in batches:
        held.append(batch)
        held_bytes += batch.nbytes
        if held_bytes >= PART_BYTES:
            yield held
            held, held_bytes, yielded = [], 0, True
    if held or not yielded:
        yield held


def read(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table (a file, or a folder of parts in name order) whole, its checksums verified."""
    batches = list(stream(path, schema, columns))
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(batches, wanted)


def stream(
    path: Path,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    batch_rows: int = ROW_GROUP_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Read a table batch by batch, its checksums verified.

    Raises StoreError where a part is missing, damaged, or of another schema.
    """
    done, total = 0, 0
    for part in parts(path):
        with _opened(part, schema) as file:
            total = total or rows(path)  # only after the first part has proved to be whole
            for batch in file.iter_batches(batch_rows, columns=columns):
                yield batch
                done += batch.num_rows
                report(Reading(done, total, f"rows of {path.name}"))


def stream_rows(
    path: Path, schema: pa.Schema, columns: Sequence[str], wanted: NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    """Read the wanted rows, numbered from 0 over all parts and in ascending order, in batches.

    Row groups without a wanted row are not read. Raises as `stream` does.
    """
    first = 0
    for part in parts(path):
        with _opened(part, schema) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                begin, end = np.searchsorted(wanted, [first, first + rows])
                if end > begin:
                    chosen = wanted[begin:end] - first
                    table = file.read_row_group(group, columns=columns).combine_chunks()
                    yield from table.take(pa.array(chosen)).to_batches()
                first += rows


def parts(path: Path) -> list[Path]:
    """The Parquet files of a table, in the order of their numbers.

    Raises StoreError where there is none.
    """
    if path.is_file():
        return [path]
    files = path.glob("part-*.parquet")
    if not (in_order := sorted(files, key=lambda file: (len(file.name), file.name))):  # 2 before 10
        raise StoreError(f"no Parquet part at {path}; delete its artifact and run again")
    return in_order


def rows(path: Path) -> int:
    """The number of rows of a table, from the footers alone."""
    return sum(pq.read_metadata(part).num_rows for part in parts(path))


@contextmanager
def _opened(part: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            _check_schema(part, file.schema_arrow, schema)
            yield file
    except (pa.ArrowException, OSError) as error:
        # the library's own message may quote a value
        number = error.errno if isinstance(error, OSError) else None
        if number in _NO_DAMAGE:
            raise StoreError(
                f"{part.parent.name}/{part.name} cannot be read: {os.strerror(number)}; correct "
                "that and run again"
            ) from None
        raise StoreError(
            f"{part.parent.name}/{part.name} is damaged or unreadable "
            f"({type(error).__name__}); delete its artifact and run again"
        ) from None


def _check_schema(part: Path, actual: pa.Schema, expected: pa.Schema) -> None:
    if not actual.equals(expected):
        names = sorted(set(actual.names) ^ set(expected.names)) or ["types"]
        raise StoreError(
            f"{part} is not of the expected schema ({', '.join(names)} differ); "
            "delete its artifact and run again"
        )
