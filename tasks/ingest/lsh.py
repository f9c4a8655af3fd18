"""Find similar signatures by locality-sensitive hashing, one band from the disk at a time.

A signature is cut into bands; notes that agree in a whole band are compared in full. The bands'
hashes lie on disk (8 bytes a band and note). Memory holds one band, and the lowest byte of each
value of every signature, which estimates the similarity just as well: two different values share
it once in 256 times, and that is subtracted (b-bit minwise hashing, Li and König 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.sampling import GOLDEN

MOST_PARTNERS = 100  # compared in a band, and listed, for one note: a template has thousands
_MISSED_SHARE = 0.01  # of the pairs that are exactly as similar as the threshold
_PAIRS_AT_ONCE = 1 << 15
_SAME_BY_CHANCE = 1 / 256

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of similar notes, as indices in the order of signing; all arrays are [pairs]."""

    left: Rows
    right: Rows
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Banding:
    """How a signature is cut into bands, in the words of the field: a row is one of its values."""

    bands: int
    rows_per_band: int

    @classmethod
    def of(cls, permutations: int, threshold: float) -> Banding:
        """The longest bands that miss at most 1% of the pairs at the threshold.

        >>> Banding.of(128, 0.8)
        Banding(bands=21, rows_per_band=6)
        """
        for rows_per_band in range(permutations, 1, -1):
            bands = permutations // rows_per_band
            if (1 - threshold**rows_per_band) ** bands <= _MISSED_SHARE:
                return cls(bands, rows_per_band)
        return cls(permutations, 1)


class BandFiles:
    """Cuts signatures into files in a scratch folder, then searches them."""

    def __init__(self, folder: Path, permutations: int, threshold: float) -> None:
        folder.mkdir(parents=True)
        self.notes = 0
        self._folder = folder
        self._permutations = permutations
        self._threshold = threshold
        self._banding = Banding.of(permutations, threshold)

    def append(self, signatures: NDArray[np.uint32]) -> None:
        """Add the next notes' signatures, [notes, permutations]."""
        self.notes += len(signatures)
        self._write("bytes", signatures.astype(np.uint8))
        self._write("whole", _hashed(signatures))
        for band in range(self._banding.bands):
            begin = band * self._banding.rows_per_band
            part = signatures[:, begin : begin + self._banding.rows_per_band]
            self._write(f"band-{band}", _hashed(part))

    def similar(self, sides: NDArray[np.uint8]) -> Iterator[Pairs]:
        """Yield the pairs of different sides that are at least as similar as the threshold.

        A pair comes once for each band that it shares. In a band that more than MOST_PARTNERS
        notes share, a note is compared with that many of each other side, its exact copies first.
        """
        low = np.fromfile(self._folder / "bytes", np.uint8).reshape(-1, self._permutations)
        whole = np.fromfile(self._folder / "whole", np.uint64)
        for band in range(self._banding.bands):
            keys = np.fromfile(self._folder / f"band-{band}", np.uint64)
            for left, right in _candidates(keys, whole, sides):
                for begin in range(0, len(left), _PAIRS_AT_ONCE):
                    chunk = slice(begin, begin + _PAIRS_AT_ONCE)
                    yield self._alike(low, left[chunk], right[chunk])

    def _alike(self, low: NDArray[np.uint8], left: Rows, right: Rows) -> Pairs:
        agree = (low[left] == low[right]).mean(axis=1, dtype=np.float32)
        similarity = (agree - np.float32(_SAME_BY_CHANCE)) / np.float32(1 - _SAME_BY_CHANCE)
        kept = similarity >= np.float32(self._threshold)
        return Pairs(left[kept], right[kept], similarity[kept])

    def _write(self, name: str, values: NDArray[np.uint8] | NDArray[np.uint64]) -> None:
        with (self._folder / name).open("ab") as file:
            file.write(np.ascontiguousarray(values).data)


def _hashed(values: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One hash for each note's values, [notes, values]; a collision costs one more comparison."""
    hashes = np.zeros(len(values), np.uint64)
    for column in values.T:
        hashes = (hashes ^ column) * GOLDEN
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _candidates(
    keys: NDArray[np.uint64], whole: NDArray[np.uint64], sides: NDArray[np.uint8]
) -> Iterator[tuple[Rows, Rows]]:
    """The pairs of one band to compare: same key, different sides."""
    if not len(keys):
        return
    order = np.lexsort((whole, keys))  # a bucket's notes together, exact copies side by side
    ordered, of_side = keys[order], sides[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, len(ordered)))
    mixed = np.minimum.reduceat(of_side, starts) != np.maximum.reduceat(of_side, starts)
    crowded = mixed & (sizes > MOST_PARTNERS)
    first = np.flatnonzero(np.repeat(mixed & ~crowded, sizes))
    ends = np.repeat(starts + sizes, sizes)
    for step in range(1, MOST_PARTNERS):  # each note of a bucket with the step-th after it
        first = first[first + step < ends[first]]
        if not len(first):
            break
        pairs = first[of_side[first] != of_side[first + step]]
        yield order[pairs], order[pairs + step]
    for start, size in zip(starts[crowded].tolist(), sizes[crowded].tolist(), strict=True):
        yield from _of_crowd(order[start : start + size], whole, sides)


def _of_crowd(
    bucket: Rows, whole: NDArray[np.uint64], sides: NDArray[np.uint8]
) -> Iterator[tuple[Rows, Rows]]:
    """Each note of a bucket with MOST_PARTNERS of each other side, its exact copies first."""
    by_side = [bucket[sides[bucket] == side] for side in np.unique(sides[bucket])]
    for left in by_side:
        for right in by_side:
            if left is right:
                continue
            steps = np.arange(min(MOST_PARTNERS, len(right)))
            nearest = np.searchsorted(whole[right], whole[left])
            for begin in range(0, len(left), _PAIRS_AT_ONCE // len(steps) + 1):
                chunk = slice(begin, begin + _PAIRS_AT_ONCE // len(steps) + 1)
                partners = right[(nearest[chunk, None] + steps) % len(right)]
                yield np.repeat(left[chunk], len(steps)), partners.ravel()
