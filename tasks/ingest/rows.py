"""Find the rows of a table by key, column-wise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def row_of(keys: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each key in an array of distinct keys, -1 where it is not there [keys].

    >>> row_of(np.array([7, 5, 6]), np.array([5, 7])).tolist()
    [1, 0, -1]
    """
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(among)
    places = np.searchsorted(among, keys, sorter=order).clip(max=len(among) - 1)
    rows = order[places]
    return np.where(among[rows] == keys, rows, -1)


def looked_up(table: pa.Table, key: str, wanted: NDArray[np.int64]) -> pa.Table:
    """The row of each wanted key, nulls where the table has none; the table's keys are distinct."""
    rows = row_of(wanted, table[key].to_numpy())
    return table.take(pa.array(rows, pa.int64(), mask=rows < 0))
