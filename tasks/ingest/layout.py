"""What a table of a source looks like: its file, its columns and types, and what its rows obey.

A release is a list of layouts (`mimic_iv.py`, `mimic_iii.py`), which hold all that differs between
releases: the tables as read have the same columns under the same names, whatever the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tasks.ingest.blocks import read_header
from tasks.ingest.column_names import missing_columns
from tasks.ingest.reader import Reader, Rule
from tasks.ingest.rejects import Rejects

Shape = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Layout:
    """A table as a release stores it.

    name: what the stage calls it, whatever the release.
    files: its path in the source without .csv or .csv.gz, the newest first.
    schema: the columns to read, others are ignored; one that is not nullable must be there and
        have a value in every row, any other may be missing and is null then.
    aliases: other names of a column; case never matters.
    unique: the key, which may not occur twice.
    rules: what else a row must obey.
    shape: turns the columns as read into those that the table has in every release; it may drop
        rows that do not belong to the table.
    """

    name: str
    files: tuple[str, ...]
    schema: pa.Schema
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unique: str | None = None
    rules: tuple[Rule, ...] = ()
    shape: Shape | None = None


def columns(required: dict[str, pa.DataType], optional: dict[str, pa.DataType]) -> pa.Schema:
    """A schema of columns that every row must fill, and of optional ones."""
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in required.items()]
        + [pa.field(name, kind) for name, kind in optional.items()]
    )


@dataclass
class OpenTable:
    """A file, read into the columns that its table has in every release."""

    layout: Layout
    path: Path
    max_reject_share: float
    rejects: Rejects = field(init=False)

    def __post_init__(self) -> None:
        self.rejects = Rejects(self.path.name, self.max_reject_share)

    @property
    def missing(self) -> list[str]:
        """The columns that the file lacks and that are read as null."""
        header, layout = read_header(self.path), self.layout
        return missing_columns(header, layout.schema, layout.aliases, layout.schema.names)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the good rows; see Reader.batches."""
        layout = self.layout
        reader = Reader(
            self.path,
            layout.schema,
            self.rejects,
            layout.unique,
            layout.rules,
            aliases=layout.aliases,
        )
        for batch in reader.batches():
            table = pa.Table.from_batches([batch])
            yield layout.shape(table) if layout.shape else table

    def table(self) -> pa.Table:
        """All good rows at once, for a table that fits in memory."""
        empty = self.layout.schema.empty_table()
        empty = self.layout.shape(empty) if self.layout.shape else empty
        return pa.concat_tables([empty, *self.batches()])
