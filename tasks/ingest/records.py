"""The records of some CSV bytes as the csv module separates them, bad ones included."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

MAX_RECORD_BYTES = 64 << 20  # a 5 MB note passes; a quote that never closes does not eat the file

csv.field_size_limit(MAX_RECORD_BYTES)


@dataclass(frozen=True)
class Record:
    """A record as the csv module reads it: fields are None where it cannot, [] on a blank line."""

    line: int  # 0 is the first line of the data
    end: int  # the byte after the record
    fields: list[str] | None


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
    """The lines of some bytes as text; counts those that the csv module has taken."""

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
