"""A file of predictions, whatever made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from tasks import schemas, tables

SPLITS = ("validation", "test")  # nobody predicts what was trained on


def read_predictions(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The admissions of a file of predictions, and their logits [admissions, labels]."""
    width = parquet.read_schema(path).field("logits").type.list_size
    table = tables.read(path, schemas.predictions(width))
    flat = table["logits"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table["hadm_id"].to_numpy(), flat.reshape(len(table), width)


def write_predictions(path: Path, hadm_ids: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
    """Write one Parquet file of logits [admissions, labels]."""
    schema = schemas.predictions(logits.shape[1])
    flat = pa.array(np.ascontiguousarray(logits, np.float32).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, logits.shape[1])
    tables.write(path, schema, pa.Table.from_arrays([pa.array(hadm_ids), lists], schema=schema))
