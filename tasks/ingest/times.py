"""Times as numpy has them, in microseconds, and questions about spans of time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Times = NDArray[np.datetime64]  # in microseconds, NaT where there is none

DAY = np.timedelta64(24 * 3600 * 10**6, "us")
HOUR = DAY // 24
NEVER = np.datetime64("9999-12-31", "us")  # later than any time


def times(column: pa.Array | pa.ChunkedArray) -> Times:
    """A column of times as numpy has them."""
    return column.to_numpy(zero_copy_only=False).astype("datetime64[us]")


def latest_end_so_far(groups: NDArray[np.int64], ends: Times) -> Times:
    """The latest end of this row and of those before it in its run of equal groups [rows].

    >>> hours = np.array([3, 1, 2], "datetime64[h]").astype("datetime64[us]")
    >>> latest_end_so_far(np.array([7, 7, 9]), hours).astype("datetime64[h]").astype(int).tolist()
    [3, 3, 2]
    """
    # ranks of times, where all those of a group rank above those of the group before
    distinct, ranks = np.unique(ends, return_inverse=True)
    number = np.cumsum(np.r_[0, groups[1:] != groups[:-1]][: len(groups)])
    highest = np.maximum.accumulate(number * len(distinct) + ranks)
    return distinct[highest % max(len(distinct), 1)]


def begins_inside_another(
    groups: NDArray[np.int64], begins: Times, ends: Times
) -> NDArray[np.bool_]:
    """Which spans begin during an earlier one of their group [rows].

    If two begin together, the shorter one is inside the longer one.
    """
    order = np.lexsort((-ends.astype(np.int64), begins, groups))
    ordered = groups[order]
    reach = latest_end_so_far(ordered, np.where(np.isnat(ends), begins, ends)[order])
    inside = np.zeros(len(groups), bool)
    inside[order[1:]] = (ordered[1:] == ordered[:-1]) & (begins[order[1:]] < reach[:-1])
    return inside


def day_over(when: Times) -> Times:
    """When it is certain to have happened: a date alone counts from the next day on."""
    day = when.astype("datetime64[D]").astype(when.dtype)
    return np.where((when == day) & (when < NEVER), when + DAY, when)
