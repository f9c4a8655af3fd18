"""The rows of a file that could not be used: where and why, never their content."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from io import SEEK_END
from itertools import chain
from tempfile import SpooledTemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import SourceError
from tasks.schemas import REJECTS

NOT_UTF8 = "is not UTF-8"
_EXAMPLES = 3
_FEWEST = 10_000  # rejected rows before the share so far may stop the reading
_ROW = np.dtype([("line", np.int64), ("reason", np.uint32)])
_ROWS_AT_ONCE = 1 << 16

Reason = tuple[str, str | None, str]  # the file's name, the column (None: the row), why


class Rejects:
    """Counts a file's rows, and lists those that could not be used, each with one reason.

    A listed row takes twelve bytes, its line and the number of its reason: in memory while they
    are few, then in an unnamed temporary file.
    """

    def __init__(self, file: str, max_share: float) -> None:
        self.file = file
        self.max_share = max_share
        self.rows = 0  # read so far, the rejected ones included
        self.share_read = 1.0  # of the file, these rows included
        self.reasons: dict[Reason, int] = {}  # how many rows were rejected for each
        self._number: dict[Reason, int] = {}  # 0, 1, 2, ... in the order of `reasons`
        self._lines, self._numbers = array("q"), array("I")  # of rows not yet ordered
        self._ordered = SpooledTemporaryFile(max_size=_ROWS_AT_ONCE * _ROW.itemsize)  # noqa: SIM115
        self._next_check = _FEWEST

    @property
    def count(self) -> int:
        """How many rows were rejected."""
        return sum(self.reasons.values())

    def add(self, lines: int | NDArray[np.int64], column: str | None, reason: str) -> None:
        """List rows by the lines on which their records start (1 is the header).

        Raises SourceError where they are already too many, even if the rest of the file has as
        many rows a byte as what was read, and no bad one.
        """
        added = np.asarray(lines, np.int64).ravel()
        number = self._number_of((self.file, column, reason), len(added))
        self._lines.frombytes(added.tobytes())
        self._numbers.frombytes(np.full(len(added), number, np.uint32).tobytes())
        if self.count >= self._next_check:
            self._next_check = self.count + _FEWEST // 10
            if self.count > self.max_share * self.rows / self.share_read:
                raise self._too_many("the first ")

    def settle(self) -> None:
        """Append the rows added since the last call, in order of line, to those before."""
        rejected = np.empty(len(self._lines), _ROW)
        rejected["line"], rejected["reason"] = self._lines, self._numbers
        self._lines, self._numbers = array("q"), array("I")
        self._ordered.seek(0, SEEK_END)
        self._ordered.write(rejected[np.argsort(rejected["line"], kind="stable")].tobytes())

    def take(self, other: Rejects) -> None:
        """Add the rejects of another file."""
        self.settle()
        self.rows += other.rows
        numbers = [self._number_of(reason, count) for reason, count in other.reasons.items()]
        for rejected in other._chunks():
            rejected["reason"] = np.array(numbers)[rejected["reason"]]
            self._ordered.write(rejected.tobytes())

    def batches(self, of_column: str | None = None) -> Iterator[pa.RecordBatch]:
        """The rejected rows, of schema REJECTS, in the file's order; all, or those of a column."""
        texts = [pa.array(part, pa.string()) for part in zip(*self.reasons, strict=True)]
        for rejected in self._chunks():
            file, column, reason = (text.take(pa.array(rejected["reason"])) for text in texts)
            lines = pa.array(rejected["line"])
            batch = pa.RecordBatch.from_arrays([file, lines, column, reason], schema=REJECTS)
            yield batch.filter(pc.equal(column, of_column)) if of_column else batch

    def check(self) -> None:
        """Raise SourceError where more than the allowed share of the rows was rejected."""
        if self.count > self.max_share * self.rows:
            raise self._too_many()

    def _number_of(self, reason: Reason, rows: int) -> int:
        """The reason's number, after counting these rows for it."""
        self.reasons[reason] = self.reasons.get(reason, 0) + rows
        return self._number.setdefault(reason, len(self._number))

    def _chunks(self) -> Iterator[NDArray[np.void]]:
        """The ordered rows, chunk by chunk."""
        self.settle()
        self._ordered.seek(0)
        while part := self._ordered.read(_ROWS_AT_ONCE * _ROW.itemsize):
            yield np.frombuffer(part, _ROW).copy()

    def _too_many(self, of: str = "") -> SourceError:
        reasons = list(self.reasons)
        first = next(self._chunks())[:_EXAMPLES]
        examples = "; ".join(
            f"line {line}: {f'{column} ' if column else 'the row '}{reason}"
            for line, (_, column, reason) in (
                (row["line"], reasons[row["reason"]]) for row in first
            )
        )
        most = max(reasons, key=lambda reason: self.reasons[reason])[2]
        return SourceError(
            f"{self.file}: {self.count} of {of}{self.rows} rows cannot be used, more than the "
            f"allowed share of {self.max_share:g} ({examples}); "
            f"{'convert the file to UTF-8' if most == NOT_UTF8 else 'correct the file'}, or raise "
            "ingest.max_reject_share"
        )


def gather(*rejects: Rejects) -> Iterator[pa.RecordBatch]:
    """The rejected rows of several files, of schema REJECTS."""
    return chain.from_iterable(reject.batches() for reject in rejects)
