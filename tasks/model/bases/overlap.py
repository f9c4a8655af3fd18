"""Where the chunks of a long text begin, and how many tokens they have together; without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.25  # of a chunk, with the one before it


def chunk_starts(length: int, longest: int, *, looking_back: bool) -> NDArray[np.int64]:
    """Where the chunks of a text begin, evenly spaced.

    Args:
        longest: tokens of a chunk, at most.
        looking_back: whether one token frames a chunk, its first; else two, the last, too.
    """
    if length <= longest:
        return np.zeros(1, np.int64)
    frame = 1 if looking_back else 2
    step = (longest - frame) - int((longest - frame) * OVERLAP)
    count = 1 + -(-(length - longest) // step)
    return np.linspace(0, length - longest, count).round().astype(np.int64)


def tokens_read(lengths: NDArray[np.int64], longest: int | None, *, looking_back: bool) -> int:
    """The tokens of all chunks of texts of so many tokens, those in two chunks counted twice.

    >>> tokens_read(np.array([7, 3]), longest=5, looking_back=True)
    13
    """
    if longest is None:
        return int(lengths.sum())
    return sum(
        len(chunk_starts(length, longest, looking_back=looking_back)) * min(length, longest)
        for length in lengths.tolist()
    )
