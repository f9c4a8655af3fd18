"""The keys of a file so far, in little memory, to find those that occur twice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.sampling import GOLDEN

_FIRST_SLOTS = 1 << 12
_MOST_FULL = 0.6  # share of slots in use above which finding a free one takes long


class KeySet:
    """A set of keys that keeps 127 bits of each, so that two of a billion agree once in 1e20 times.

    Strings are kept as two of Python's own hashes, whose seed differs between processes; whole
    numbers as they are. A key takes 27 to 53 bytes, where a set of MIMIC's note_ids takes 120.
    """

    def __init__(self) -> None:
        self._slots = np.zeros((_FIRST_SLOTS, 2), np.int64)  # the second is odd, 0 where free
        self._count = 0

    def add(self, keys: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Add the keys, none of them null; say of each [keys] whether it was there before."""
        hashes = _hashes(keys)
        while self._count + len(hashes) > _MOST_FULL * len(self._slots):
            old = self._slots[self._slots[:, 1] != 0]
            self._slots = np.zeros((2 * len(self._slots), 2), np.int64)
            self._insert(old)
        known = self._insert(hashes)
        self._count += int(np.count_nonzero(~known))
        return known

    def _insert(self, hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Put each hash [hashes, 2] into the next free slot; true where it is there already."""
        slots, last = self._slots, len(self._slots) - 1
        known = np.zeros(len(hashes), bool)
        bits = np.uint64(64 - last.bit_length())
        slot = ((hashes[:, 0].view(np.uint64) * GOLDEN) >> bits).astype(np.int64)
        remaining = np.arange(len(hashes))
        while len(remaining):
            occupants = slots[slot[remaining]]
            free = occupants[:, 1] == 0
            same = (occupants == hashes[remaining]).all(axis=1)
            known[remaining[same]] = True
            # of several that want one free slot, the first gets it; the others look again
            wanting = remaining[free]
            taken, first = np.unique(slot[wanting], return_index=True)
            slots[taken] = hashes[wanting[first]]
            slot[remaining[~free & ~same]] += 1
            slot &= last
            done = same
            done[np.flatnonzero(free)[first]] = True
            remaining = remaining[~done]
        return known


def _hashes(keys: pa.ChunkedArray) -> NDArray[np.int64]:
    hashes = np.ones((len(keys), 2), np.int64)
    if pa.types.is_integer(keys.type):
        hashes[:, 0] = keys.to_numpy()
    else:
        texts = keys.to_pylist()
        hashes[:, 0] = [hash(text) for text in texts]
        hashes[:, 1] = [hash(f"{text}.") | 1 for text in texts]
    return hashes
