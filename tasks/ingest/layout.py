"""What a table of a source looks like: its file, its columns and types, and what its rows obey.

A release is a list of layouts (`mimic_iv.py`, `mimic_iii.py`), which hold all that differs between
releases: the tables as read have the same columns under the same names, whatever the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tasks.ingest.column_names import missing_columns
from tasks.ingest.demands import Rule
from tasks.ingest.parquet_reader import ParquetReader, column_names, is_parquet
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tasks.schemas import DATE_TIME, NOTES

Shape = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Layout:
    """A table as a release stores it.

    name: what the stage calls it, whatever the release.
    files: its path in the source without .csv or .csv.gz, the newest first; empty where the table
        is made from another one alone.
    schema: the columns to read, others are ignored; one that is not nullable must be there and
        have a value in every row, any other may be missing and is null then.
    aliases: other names of a column; case never matters.
    present: columns that may be null, but must be there.
    unknown: columns of the table in every release that this one says nothing of.
    beside: other tables of the source that its rows are made from, too, where those are there.
    needs: those of them without which the source counts as having no such table.
    aside: whether it is read only to make the rows of others.
    unique: the key, which may not occur twice.
    rules: what else a row must obey.
    shape: turns the columns as read into those that the table has in every release; it may drop
        rows that do not belong to the table.
    """

    name: str
    files: tuple[str, ...]
    schema: pa.Schema
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    aside: bool = False
    unique: str | None = None
    rules: tuple[Rule, ...] = ()
    shape: Shape | None = None


def columns(required: dict[str, pa.DataType], optional: dict[str, pa.DataType]) -> pa.Schema:
    """A schema of columns that every row must fill, and of optional ones."""
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in required.items()]
        + [pa.field(name, kind) for name, kind in optional.items()]
    )


# columns that tables have in every release, for releases that are made into them
AS_READ: Mapping[str, pa.Schema] = {
    "discharge": pa.schema([field.with_nullable(True) for field in NOTES]),
    "patients": columns({}, {"subject_id": pa.int64(), "gender": pa.string(), "born": pa.date32()}),
    "deaths": columns({}, {"subject_id": pa.int64(), "dod": DATE_TIME}),
    "anchor_years": columns({}, {"subject_id": pa.int64(), "anchor_year_group": pa.string()}),
    "row_splits": columns({}, {"subject_id": pa.int64(), "split": pa.string()}),
    "codes": columns(
        {},
        {
            "subject_id": pa.int64(),
            "hadm_id": pa.int64(),
            "icd_code": pa.string(),
            "icd_version": pa.int32(),
        },
    ),
    "admissions": columns(
        {},
        {
            "subject_id": pa.int64(),
            "hadm_id": pa.int64(),
            "admittime": DATE_TIME,
            "dischtime": DATE_TIME,
            "race": pa.string(),
            "insurance": pa.string(),
            "language": pa.string(),
            "admission_type": pa.string(),
            "hospital_expire_flag": pa.int32(),
            "deathtime": DATE_TIME,
        },
    ),
}


def filled(table: str, rows: int, given: Mapping[str, pa.ChunkedArray | pa.Array]) -> pa.Table:
    """A table with the columns that it has in every release; those not given are null."""
    schema = AS_READ[table]
    empty = {field.name: pa.nulls(rows, field.type) for field in schema}
    return pa.table(empty | dict(given), schema=schema)


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
        """The columns that the file could have, but lacks, and that are read as null."""
        header, layout = column_names(self.path), self.layout
        return missing_columns(header, layout.schema, layout.aliases, layout.schema.names)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the good rows; see Reader.batches."""
        layout = self.layout
        kind = ParquetReader if is_parquet(self.path) else Reader
        reader = kind(
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
