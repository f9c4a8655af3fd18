"""Cut a CSV file, gzipped or not, into blocks of whole records, without parsing them.

pyarrow loses a line feed where a CRLF inside quotes falls on the border of its blocks (arrow
#51368), so the blocks are cut here, at record ends, and each is parsed as one.
"""

from __future__ import annotations

import csv
import os
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from tasks.errors import SourceError
from tasks.ingest.formats import BOM, GZIP, SNIFFED_BYTES, refuse_foreign, refuse_header
from tasks.ingest.records import MAX_RECORD_BYTES, records

BLOCK_BYTES = 4 << 20  # faster than 16 MiB: it suits the caches and the allocator
_MAX_HEADER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18
_QUOTE, _COMMA, _NEWLINE, _RETURN = b'",\n\r'

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]  # bytes counted from the start of a block


@dataclass(frozen=True)
class Block:
    """Whole records of a file.

    `starts` [records] are the offsets where its records start, blank lines left out; None where
    quotes are misplaced, so that only the csv module can tell the records apart. `share_read` is
    the share of the file's bytes that had been read before the block, and with it.
    """

    content: Bytes
    first_line: int
    starts: Offsets | None
    share_read: tuple[float, float]

    def share_at(self, offset: int) -> float:
        """The share of the file's bytes that lies before that offset of the block."""
        before, after = self.share_read
        return before + (after - before) * offset / len(self.content)

    def lines(self) -> NDArray[np.int64]:
        """The line numbers [records] on which the records start; needed when one is rejected."""
        feeds, starts = _find(self.content, _NEWLINE), np.asarray(self.starts)
        return np.searchsorted(feeds, starts) + self.first_line


def read_header(path: Path) -> list[str]:
    """The names in the file's first line. Raises SourceError where there is none."""
    with _open(path) as file:
        return _header(path, file.content)


def read_text(path: Path) -> str:
    """The text of a small table, decompressed; SourceError where it is not UTF-8 with commas."""
    with _open(path) as file:
        data = file.content.read()
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError:
        raise SourceError(f"{path.name} is not in UTF-8; convert it") from None
    refuse_header(path.name, text.partition("\n")[0])
    return text


def read_blocks(
    path: Path, block_bytes: int = BLOCK_BYTES, *, headed: bool = True
) -> Iterator[Block]:
    """Yield the file's records, the header left out, in blocks of about `block_bytes`.

    Raises SourceError where the file is empty, cannot be read, changes while it is read, ends
    within a compressed stream or within quotes, or holds a record of over MAX_RECORD_BYTES.
    """
    with _open(path) as file:
        opened = _state(file.raw)
        if headed:
            _header(path, file.content)
        line, carried, final, shares = 1 + headed, np.empty(0, np.uint8), False, (0.0, 0.0)
        while not final:
            content, final = _filled(file.content, carried, block_bytes)
            if _state(file.raw) != opened:
                raise SourceError(
                    f"{path.name} changed while it was read; wait until it is written, run again"
                )
            shares = shares[1], file.raw.tell() / opened[0]
            end, starts = _cut(content)
            if end:
                yield Block(content[:end], line, starts, shares)
                line += int(np.count_nonzero(content[:end] == _NEWLINE))
            carried = content[end:]
            if len(carried) and (final or len(carried) > MAX_RECORD_BYTES):
                raise SourceError(
                    f"{path.name}: the quoted field in the record at line {line} does not end; "
                    "the file was cut off there, or a quote is missing; fetch the file again"
                )


def _filled(file: IO[bytes], carried: Bytes, block_bytes: int) -> tuple[Bytes, bool]:
    """What was carried over, followed by the file's next bytes; and whether the file ends there.

    A last line without a line feed gets one.
    """
    size = len(carried) + block_bytes
    # from pyarrow's pool, which keeps memory: what numpy allocates is zeroed for each block
    content = np.frombuffer(pa.allocate_buffer(size + 1), np.uint8)
    content[: len(carried)] = carried
    filled = len(carried)
    while filled < size and (read := file.readinto(content[filled:size].data)):  # type: ignore[attr-defined]
        filled += read
    final = filled < size
    if final and filled and content[filled - 1] != _NEWLINE:
        content[filled] = _NEWLINE
        filled += 1
    return content[:filled], final


def _cut(content: Bytes) -> tuple[int, Offsets | None]:
    r"""Where the last whole record ends, and where the records start: None if csv alone can tell.

    A line feed ends a record if the number of quotes before it is even, provided that quotes stand
    only around fields and, doubled, inside them. Otherwise, or where a carriage return stands
    alone outside quotes, the csv module decides.

    >>> _cut(np.frombuffer(b'1,"a\nb"\n\n2,c\n3,"d', np.uint8))
    (13, array([0, 9]))
    """
    quotes = _find(content, _QUOTE)
    if not _well_placed(content, quotes) or _has_lone_return(content, quotes):
        last = deque(records(content.tobytes()), maxlen=1)
        return last[0].end if last else 0, None
    ends = _feeds_outside(content, quotes)
    if not len(ends):
        return 0, ends
    starts = np.concatenate(([0], ends[:-1] + 1))
    length = ends - starts
    blank = (length == 0) | ((length == 1) & (content[starts] == _RETURN))
    return int(ends[-1]) + 1, starts[~blank]


def _feeds_outside(content: Bytes, quotes: Offsets) -> Offsets:
    """The line feeds outside quotes.

    In tables of notes little stands outside: searching only that takes a fifth of the time.
    """
    opening = quotes[0::2] if len(quotes) % 2 else np.append(quotes[0::2], len(content))
    after = np.append(0, quotes[1::2] + 1)
    lengths = opening - after
    outside = int(lengths.sum())
    if outside > len(content) // 8:
        feeds = _find(content, _NEWLINE)
        return feeds[np.searchsorted(quotes, feeds) % 2 == 0]
    # e.g. stretches at 3 (2 long) and 9 (2 long): 0 1 2 3 + 3 3 7 7 = 3 4 9 10
    offsets = np.arange(outside) + np.repeat(after - (np.cumsum(lengths) - lengths), lengths)
    return offsets[content[offsets] == _NEWLINE]


def _well_placed(content: Bytes, quotes: Offsets) -> bool:
    """Whether quotes open only after a comma or line feed and close only before one.

    A closing quote may also be followed at once by an opening one: a doubled quote inside a field.
    """
    opening, closing = quotes[0::2], quotes[1::2]
    doubled = quotes[2::2] - quotes[1:-1:2] == 1  # [closing quotes that another one follows]
    single = np.concatenate(([True], ~doubled))[: len(opening)]
    before = content[opening[single] - 1]
    opens = (before == _COMMA) | (before == _NEWLINE) | (opening[single] == 0)
    single = np.concatenate((~doubled, [True]))[: len(closing)]
    last = len(content) - 1
    after = content[np.minimum(closing[single] + 1, last)]
    closes = (after == _COMMA) | (after == _NEWLINE) | (after == _RETURN)
    return bool(opens.all() and (closes | (closing[single] == last)).all())


def _has_lone_return(content: Bytes, quotes: Offsets) -> bool:
    """Whether a carriage return stands outside quotes without its line feed."""
    returns = _find(content[:-1], _RETURN)
    lone = returns[content[returns + 1] != _NEWLINE]
    return bool((np.searchsorted(quotes, lone) % 2 == 0).any())


def _find(content: Bytes, byte: int) -> Offsets:
    """The offsets of the byte; searched piece by piece, so that the pieces stay in the cache."""
    starts = range(0, len(content), _PIECE_BYTES)
    offsets = [np.flatnonzero(content[at : at + _PIECE_BYTES] == byte) + at for at in starts]
    return np.concatenate(offsets) if offsets else np.empty(0, np.int64)


@dataclass(frozen=True)
class _Opened:
    """A file as it is stored, and its decompressed content; the same if it is plain."""

    raw: IO[bytes]
    content: IO[bytes]


@contextmanager
def _open(path: Path) -> Iterator[_Opened]:
    """The file, decompressed where it begins as gzip does, whatever its name says."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe would wait for a writer forever
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise SourceError(f"{path.name} is {kind}; put the table itself there")
        with path.open("rb") as raw:
            opener = igzip.open if raw.peek(len(GZIP)).startswith(GZIP) else nullcontext
            with opener(raw) as content:
                refuse_foreign(path.name, content.peek(SNIFFED_BYTES))
                yield _Opened(raw, content)
    except EOFError:
        raise SourceError(
            f"{path.name} ends in the middle of its compressed data; fetch the file again and "
            "compare its SHA-256"
        ) from None
    except (igzip.BadGzipFile, isal_zlib.IsalError, zlib.error):  # type: ignore[misc]
        raise SourceError(f"{path.name} is no valid gzip file; fetch it again") from None
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SourceError(
            f"{path.name} cannot be read ({words}); check that it is there and its permissions"
        ) from None


def _state(file: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _header(path: Path, file: IO[bytes]) -> list[str]:
    first = file.readline(_MAX_HEADER_BYTES).removeprefix(BOM).decode("utf-8", "replace")
    refuse_header(path.name, first)
    try:
        names = next(csv.reader([first], skipinitialspace=True), [])
    except csv.Error:  # a carriage return outside quotes
        raise SourceError(f"{path.name}: its first line is no CSV; fetch the file again") from None
    if not names:
        raise SourceError(f"{path.name} is empty: it has no header line; fetch the file again")
    return [name.strip() for name in names]
