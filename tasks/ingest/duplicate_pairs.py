"""Which notes have a near-duplicate on which side, and the pairs that are listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.lsh import MOST_PARTNERS, Pairs, Rows

# those closest to training first; "pretraining": a patient of a release that has no splits
SPLITS_OF_A_SIDE = ("pretraining", "train", "validation", "test")
TRAINED_ON = ("pretraining", "train")
HELD_OUT = ("validation", "test")
_PENDING_PAIRS = 1 << 21


@dataclass(frozen=True)
class NoteSides:
    """The side of each note: split index * number of releases + release index, [notes]."""

    values: NDArray[np.uint8]
    releases: tuple[str, ...]

    @property
    def splits(self) -> NDArray[np.uint8]:
        """Each note's split, [notes]: an index of SPLITS_OF_A_SIDE."""
        return self.values // np.uint8(len(self.releases))

    def split_names(self, rows: Rows) -> list[str]:
        return [SPLITS_OF_A_SIDE[split] for split in self.splits[rows].tolist()]

    def release_names(self, rows: Rows) -> list[str]:
        releases = self.values[rows] % np.uint8(len(self.releases))
        return [self.releases[release] for release in releases.tolist()]

    def of(self, splits: tuple[str, ...]) -> NDArray[np.bool_]:
        """Whether each note is of one of these splits."""
        return np.isin(self.splits, [SPLITS_OF_A_SIDE.index(split) for split in splits])


class DuplicatePairs:
    """Collects the pairs as they are found; `near` counts those, too, that are not listed."""

    def __init__(self, sides: NoteSides, *, listed: bool) -> None:
        self.has_more = np.zeros(len(sides.values), bool)  # has more partners than are listed
        self._sides = sides
        self._bits = np.left_shift(1, sides.splits).astype(np.uint8)
        self._listed = listed
        self._partner_splits = np.zeros(len(sides.values), np.uint8)  # a bit for each split
        self._kept: list[Pairs] = []
        self._pending = 0

    def add(self, pairs: Pairs) -> None:
        """Add pairs; one that was added before changes nothing."""
        np.bitwise_or.at(self._partner_splits, pairs.left, self._bits[pairs.right])
        np.bitwise_or.at(self._partner_splits, pairs.right, self._bits[pairs.left])
        if self._listed and len(pairs.left):
            self._kept.append(self._ordered(pairs))
            self._pending += len(pairs.left)
            if self._pending > _PENDING_PAIRS:
                self._kept, self._pending = [self.listing()], 0

    def near(self, of: tuple[str, ...], to: tuple[str, ...]) -> Rows:
        """The notes of some splits that have a near-duplicate in others."""
        bits = sum(1 << SPLITS_OF_A_SIDE.index(split) for split in to)
        return np.flatnonzero(self._sides.of(of) & (self._partner_splits & np.uint8(bits) > 0))

    def listing(self) -> Pairs:
        """Each pair once, in the notes' order; for each note its MOST_PARTNERS most similar."""
        if not self._kept:
            return Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32))
        left, right = (
            np.concatenate([getattr(pairs, side) for pairs in self._kept])
            for side in ("left", "right")
        )
        similarity = np.concatenate([pairs.similarity for pairs in self._kept])
        _, distinct = np.unique(left * len(self.has_more) + right, return_index=True)
        listed = Pairs(left[distinct], right[distinct], similarity[distinct])
        for notes in ("left", "right"):
            listed = self._most_similar(listed, getattr(listed, notes))
        return listed

    def _ordered(self, pairs: Pairs) -> Pairs:
        """The pairs with the side that is closer to training on the left."""
        turned = self._sides.values[pairs.left] > self._sides.values[pairs.right]
        left = np.where(turned, pairs.right, pairs.left)
        return Pairs(left, np.where(turned, pairs.left, pairs.right), pairs.similarity)

    def _most_similar(self, pairs: Pairs, notes: Rows) -> Pairs:
        """The MOST_PARTNERS most similar pairs of each of the notes [pairs]."""
        order = np.lexsort((-pairs.similarity, notes))
        starts = np.flatnonzero(np.diff(notes[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        over = order[rank >= MOST_PARTNERS]
        self.has_more[notes[over]] = True
        kept = np.setdiff1d(np.arange(len(order)), over, assume_unique=True)
        return Pairs(pairs.left[kept], pairs.right[kept], pairs.similarity[kept])
