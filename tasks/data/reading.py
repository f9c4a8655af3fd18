"""An artifact's tables, read whole or refused in one sentence: which artifact, what, how many rows.

A message names columns and counts, never a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks import schemas, tables
from tasks.errors import EvaluationError, StoreError

MANIFEST = "manifest.json"
GROUPED_BY = ("sex", "age", "race", "insurance", "language", "admission_type")  # of patients
REMEDY = "delete the artifact and run again"


def artifact_of(path: Path) -> str:
    """The artifact that a file or folder belongs to, as kind/key.

    Outside a store, the last two parts of the folder's path.
    """
    of_parts = path.is_dir() and any(path.glob("part-*.parquet"))
    above = [path, *path.parents] if path.is_dir() and not of_parts else list(path.parents)
    folder = next((parent for parent in above if (parent / MANIFEST).is_file()), above[0])
    return "/".join(folder.parts[-2:])


def refused(path: Path, what: str) -> EvaluationError:
    """The error that names the artifact before what is wrong with it."""
    return EvaluationError(f"{artifact_of(path)}: {what}")


def table_of(artifact: Path, name: str) -> Path:
    """Where an artifact keeps a table: a folder of parts, or a single file."""
    folder = artifact / name
    return folder if folder.is_dir() else artifact / f"{name}.parquet"


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table as `stream_table` does, whole."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(list(stream_table(path, schema, columns)), wanted)


def read_admissions(cohort: Path) -> pa.Table:
    """Read the cohort without its notes. Raises EvaluationError on duplicates or no test split."""
    columns = ("hadm_id", "subject_id", "split", *GROUPED_BY)
    admissions = read_table(table_of(cohort, "admissions"), schemas.ADMISSIONS, columns)
    duplicates = len(admissions) - len(pc.unique(admissions["hadm_id"]))
    if duplicates:
        raise refused(
            cohort,
            f"the cohort repeats {duplicates} of its {len(admissions)} admissions; ingest anew",
        )
    if not pc.any(pc.equal(admissions["split"], "test")).as_py():
        raise refused(
            cohort,
            f"none of the cohort's {len(admissions)} admissions is in the test split; "
            "raise ingest.split.test, or name test patients in the split file",
        )
    return admissions


def stream_table(
    path: Path,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    batch_rows: int = tables.ROW_GROUP_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Read a table batch by batch.

    Raises EvaluationError where it is missing, damaged, or its columns are of other types.
    """
    rows = 0
    try:
        _check_columns(path, schema)
        for batch in tables.stream(path, schema, columns, batch_rows):
            batch.validate()
            rows += len(batch)
            yield batch
        whole = tables.rows(path) == rows
    except (StoreError, pa.ArrowException, OSError, ValueError):
        # the library's own message may quote a value
        whole = False
    if not whole:
        raise refused(path, f"{_named(path)} is damaged or cut short; {REMEDY}")


def columns_of(path: Path) -> pa.Schema:
    """The schema of a table as it is. Raises EvaluationError where it cannot be read."""
    from pyarrow import parquet

    if not path.exists():
        raise refused(path, f"{path.name} is missing; {REMEDY}")
    try:
        return parquet.read_schema(tables.parts(path)[0])
    except (StoreError, pa.ArrowException, OSError, ValueError):
        raise refused(path, f"{_named(path)} is no readable Parquet; {REMEDY}") from None


def _check_columns(path: Path, schema: pa.Schema) -> None:
    columns = columns_of(path)
    missing = [name for name in schema.names if name not in columns.names]
    added = [name for name in columns.names if name not in schema.names]
    if missing or added:
        words = [f"has no column {name!r}" for name in missing]
        words += [f"has a column {name!r} too many" for name in added]
        raise refused(path, f"{_named(path)} {' and '.join(words)}; {REMEDY}")
    for field in schema:
        column = columns.field(field.name)
        if column.type != field.type:
            raise refused(
                path,
                f"column '{field.name}' of {_named(path)} is of type {column.type}, not "
                f"{field.type}; {REMEDY}",
            )
        if column.nullable and not field.nullable:
            raise refused(
                path,
                f"column '{field.name}' of {_named(path)} may be null, and is in "
                f"{_nulls(path, field.name)}; {REMEDY}",
            )


def _nulls(path: Path, name: str) -> int:
    from pyarrow import parquet

    parts = [parquet.read_table(part, columns=[name]) for part in tables.parts(path)]
    return int(pc.sum(pa.array([part[name].null_count for part in parts])).as_py())


def _named(path: Path) -> str:
    """The table's name and size, as far as they can be known."""
    try:
        return f"{path.name} ({tables.rows(path)} rows)"
    except (StoreError, pa.ArrowException, OSError, ValueError):
        return f"{path.name} (its number of rows cannot be read)"
