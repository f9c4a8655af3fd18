"""Cut a CSV file, gzipped or not, into blocks of whole records, without parsing them.

pyarrow loses a line feed where a CRLF inside quotes falls on the border of its blocks (arrow
#51368), so the blocks are cut here, at record ends, and each is parsed as one.
"""

from __future__ import annotations

import csv
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from isal import igzip, igzip_threaded, isal_zlib
from numpy.typing import NDArray

from tasks.errors import SourceError

BLOCK_BYTES = 4 << 20  # the caches and the allocator like it better than 16 MiB
MAX_RECORD_BYTES = 64 << 20  # a 5 MB note passes; a quote without a partner does not eat the file
_MAX_HEADER_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_QUOTE, _COMMA, _NEWLINE, _RETURN = b'",\n\r'

csv.field_size_limit(MAX_RECORD_BYTES)


@dataclass(frozen=True)
class Block:
    """Whole records of a file.

    `lines` [records] are the line numbers on which its records start, blank lines left out; None
    where a quote stands in an odd place, so that only the csv module can tell the records apart.
    """

    data: bytes
    first_line: int
    lines: NDArray[np.int64] | None


@dataclass(frozen=True)
class Record:
    """A record as the csv module reads it: fields are None where it cannot, [] on a blank line."""

    line: int  # 0 is the first line of the data
    end: int  # byte behind the record
    fields: list[str] | None


def read_header(path: Path) -> list[str]:
    """The names in the file's first line. Raises SourceError where there is none."""
    with _open(path) as file:
        return _header(path, file)


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the file's records, the header left out, in blocks of about `block_bytes`.

    Raises SourceError where the file is empty, cannot be read, ends within a compressed stream
    or within quotes, or holds a record of more than MAX_RECORD_BYTES.
    """
    with _open(path) as file:
        _header(path, file)
        line, carried = 2, b""
        while True:
            data = file.read(block_bytes)
            final = not data
            data = carried + data
            if final and not data.endswith(b"\n"):
                data += b"\n" if data else b""
            end, feeds, lines = _cut(data)
            if end:
                first, line = line, line + feeds
                yield Block(data[:end], first, None if lines is None else lines + first)
            carried = data[end:]
            if carried and (final or len(carried) > MAX_RECORD_BYTES):
                raise SourceError(
                    f"{path.name}: the quoted field in the record at line {line} does not end; "
                    "the file was cut off there, or a quote is missing; fetch the file again"
                )
            if final:
                return


def records(data: bytes) -> Iterator[Record]:
    """The whole records of the data as the csv module splits them.

    Bytes that are not UTF-8 become lone surrogates. A last record whose quotes do not close is
    not yielded.
    """
    lines = _Lines(data)
    reader = csv.reader(lines)
    while True:
        start = lines.count
        fields: list[str] | None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fields = None
        if lines.exhausted:
            return
        yield Record(start, lines.position, fields)


class _Lines:
    """The lines of some bytes as text, counting what the csv module took."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = self.count = 0
        self.exhausted = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        end = self.data.find(b"\n", self.position) + 1
        if not end:
            self.exhausted = True
            raise StopIteration
        line = self.data[self.position : end]
        self.position = end
        self.count += 1
        return line.decode("utf-8", "surrogateescape")


def _cut(data: bytes) -> tuple[int, int, NDArray[np.int64] | None]:
    r"""Where the last whole record ends, the line feeds up to there, and the lines of the records.

    The lines (from 0) are those on which records start, None where only the csv module can tell.

    A line feed ends a record if an even number of quotes stands before it; that holds as long as
    quotes stand only around fields and, doubled, inside them. Where they do not, or a carriage
    return stands alone outside them, the csv module decides.

    >>> _cut(b'1,"a\nb"\n\n2,c\n3,"d')
    (13, 4, array([0, 3]))
    """
    content = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(content == _QUOTE)
    if not _well_placed(content, quotes) or _has_lone_return(data, content, quotes):
        last = deque(records(data), maxlen=1)
        end = last[0].end if last else 0
        return end, data.count(b"\n", 0, end), None
    feeds = np.flatnonzero(content == _NEWLINE)
    outside = np.flatnonzero(np.searchsorted(quotes, feeds) % 2 == 0)
    if not len(outside):
        return 0, 0, np.empty(0, np.int64)
    ends = feeds[outside]
    starts = np.concatenate(([0], ends[:-1] + 1))
    lines = np.concatenate(([0], outside[:-1] + 1))
    length = ends - starts
    blank = (length == 0) | ((length == 1) & (content[starts] == _RETURN))
    return int(ends[-1]) + 1, int(outside[-1]) + 1, lines[~blank]


def _well_placed(content: NDArray[np.uint8], quotes: NDArray[np.int64]) -> bool:
    """Whether quotes open only after a comma or line feed and close only before one.

    The closing quote and the opening quote behind it may also stand together: a doubled quote
    inside a field.
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


def _has_lone_return(data: bytes, content: NDArray[np.uint8], quotes: NDArray[np.int64]) -> bool:
    """Whether a carriage return stands outside quotes without its line feed."""
    if b"\r" not in data:
        return False
    returns = np.flatnonzero(content[:-1] == _RETURN)
    lone = returns[content[returns + 1] != _NEWLINE]
    return bool((np.searchsorted(quotes, lone) % 2 == 0).any())


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed on another thread where its name ends with .gz."""
    try:
        opener = igzip_threaded.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            yield file
    except EOFError:
        raise SourceError(
            f"{path.name} ends in the middle of its compressed data; fetch the file again and "
            "compare its SHA-256"
        ) from None
    except (igzip.BadGzipFile, isal_zlib.IsalError, zlib.error):  # type: ignore[misc]
        raise SourceError(
            f"{path.name} is no valid gzip file; fetch it again, or name it .csv if it is plain"
        ) from None
    except OSError as error:
        raise SourceError(
            f"{path.name} cannot be read ({error.strerror or type(error).__name__}); check that "
            "it is there and its permissions"
        ) from None


def _header(path: Path, file: IO[bytes]) -> list[str]:
    first = file.readline(_MAX_HEADER_BYTES).removeprefix(_BOM)
    names = next(csv.reader([first.decode("utf-8", "replace")]), [])
    if not names:
        raise SourceError(f"{path.name} is empty: it has no header line; fetch the file again")
    return [name.strip() for name in names]
