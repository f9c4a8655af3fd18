"""Find similar signatures by locality-sensitive hashing, one band from the disk at a time.

A signature is cut into bands; notes of which a whole band agrees are compared in full. On disk lie
the bands' hashes (8 bytes a band and note). In memory are one band, and of each signature the
lowest byte of every place, which estimates the similarity as well: two different values share it
once in 256 times, and that is taken off (b-bit minwise hashing, Li and König 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_PARTNERS = 100  # compared in a band, and listed, of one note: a template has thousands
_MISSED_SHARE = 0.01  # of the pairs just as similar as the threshold
_PAIRS_AT_ONCE = 1 << 15
_SAME_BY_CHANCE = 1 / 256
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Notes that are similar, by their places in the order of signing."""

    left: Rows
    right: Rows
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Banding:
    """How a signature is cut: so many bands of so many places each."""

    bands: int
    places: int

    @classmethod
    def of(cls, permutations: int, threshold: float) -> Banding:
        """The longest bands that let at most 1% of the pairs at the threshold pass unseen.

        >>> Banding.of(128, 0.8)
        Banding(bands=21, places=6)
        """
        for places in range(permutations, 1, -1):
            bands = permutations // places
            if (1 - threshold**places) ** bands <= _MISSED_SHARE:
                return cls(bands, places)
        return cls(permutations, 1)


class BandFiles:
    """Signatures cut into files of a scratch folder, then searched."""

    def __init__(self, folder: Path, permutations: int, threshold: float) -> None:
        folder.mkdir(parents=True)
        self.notes = 0
        self._folder = folder
        self._permutations = permutations
        self._threshold = threshold
        self._banding = Banding.of(permutations, threshold)

    def append(self, signatures: NDArray[np.uint32]) -> None:
        """Take the next notes' signatures, [notes, permutations]."""
        self.notes += len(signatures)
        self._write("bytes", signatures.astype(np.uint8))
        self._write("whole", _hashed(signatures))
        for band in range(self._banding.bands):
            begin = band * self._banding.places
            part = signatures[:, begin : begin + self._banding.places]
            self._write(f"band-{band}", _hashed(part))

    def similar(self, sides: NDArray[np.uint8]) -> Iterator[Pairs]:
        """Yield the pairs of different sides at least as similar as the threshold.

        A pair comes once for each band that it shares. In a band that more than MOST_PARTNERS
        notes share, a note is compared with so many of each other side, its exact copies first.
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


def _hashed(places: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One number a row; rows that differ share it about never, and are compared all the same."""
    found = np.zeros(len(places), np.uint64)
    for column in places.T:
        found = (found ^ column) * _MULTIPLIER
        found ^= found >> np.uint64(29)
    return found


def _candidates(
    keys: NDArray[np.uint64], whole: NDArray[np.uint64], sides: NDArray[np.uint8]
) -> Iterator[tuple[Rows, Rows]]:
    """The pairs to compare of one band: same key, different sides."""
    if not len(keys):
        return
    order = np.lexsort((whole, keys))  # a bucket's notes in a row, exact copies side by side
    ordered, of_side = keys[order], sides[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, len(ordered)))
    mixed = np.minimum.reduceat(of_side, starts) != np.maximum.reduceat(of_side, starts)
    crowded = mixed & (sizes > MOST_PARTNERS)
    at = np.flatnonzero(np.repeat(mixed & ~crowded, sizes))
    ends = np.repeat(starts + sizes, sizes)
    for step in range(1, MOST_PARTNERS):  # each note of a bucket with the step-th behind it
        at = at[at + step < ends[at]]
        if not len(at):
            break
        apart = at[of_side[at] != of_side[at + step]]
        yield order[apart], order[apart + step]
    for start, size in zip(starts[crowded].tolist(), sizes[crowded].tolist(), strict=True):
        yield from _of_crowd(order[start : start + size], whole, sides)


def _of_crowd(
    bucket: Rows, whole: NDArray[np.uint64], sides: NDArray[np.uint8]
) -> Iterator[tuple[Rows, Rows]]:
    """Each note of a bucket with MOST_PARTNERS of each other side, from its exact copies on."""
    by_side = [bucket[sides[bucket] == side] for side in np.unique(sides[bucket])]
    for mine in by_side:
        for theirs in by_side:
            if mine is theirs:
                continue
            steps = np.arange(min(MOST_PARTNERS, len(theirs)))
            nearest = np.searchsorted(whole[theirs], whole[mine])
            for begin in range(0, len(mine), _PAIRS_AT_ONCE // len(steps) + 1):
                chunk = slice(begin, begin + _PAIRS_AT_ONCE // len(steps) + 1)
                partners = theirs[(nearest[chunk, None] + steps) % len(theirs)]
                yield np.repeat(mine[chunk], len(steps)), partners.ravel()
