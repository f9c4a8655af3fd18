"""Find the rows of a table by key, column-wise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def row_of(keys: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each key in an array of distinct keys, -1 where it is missing, [keys].

    >>> row_of(np.array([7, 5, 6]), np.array([5, 7])).tolist()
    [1, 0, -1]
    """
    rows = pc.index_in(pa.array(keys), pa.array(among))
    return pc.fill_null(rows, -1).to_numpy().astype(np.int64)


def look_up(table: pa.Table, key: str, wanted: NDArray[np.int64]) -> pa.Table:
    """The row of each wanted key, nulls where the table has none; the table's keys are distinct."""
    return table.take(pc.index_in(pa.array(wanted), table[key].combine_chunks()))


def match_admissions(
    table: pa.Table | pa.RecordBatch, admissions: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each row's admission, -1 where it is unknown, and whether it is the same patient's [rows]."""
    hadm_ids = pc.fill_null(table["hadm_id"], -1).to_numpy()
    rows = row_of(hadm_ids, admissions["hadm_id"].to_numpy())
    subject_ids = np.append(admissions["subject_id"].to_numpy(), -1)
    return rows, (rows >= 0) & (subject_ids[rows] == table["subject_id"].to_numpy())
