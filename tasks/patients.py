"""A patient's split: a keyed hash of subject_id, stable when a release adds patients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

OWN_RELEASE = "source"  # the release whose patients are split, beside others by their names
SPLITS = ("train", "validation", "test")


def split_of(subject_ids: Iterable[int], *, key: str, validation: float, test: float) -> list[str]:
    """Return each patient's split.

    A patient's place in [0, 1) is BLAKE2b(subject_id, key) / 2^64. The test split takes the lowest
    share, validation the next, train the rest, so that a patient never changes split when others
    are added.

    >>> split_of([10000032, 10000980], key="clinfuse", validation=0.1, test=0.2)
    ['validation', 'train']
    """
    return [_split(place, validation, test) for place in place_of(subject_ids, key=key)]


def place_of(subject_ids: Iterable[int], *, key: str) -> list[float]:
    """Return each patient's place in [0, 1), which the key decides."""
    keyed = hashlib.blake2b(key=key.encode()[:64], digest_size=8)
    return [_place(keyed, subject_id) for subject_id in subject_ids]


def _place(keyed: hashlib.blake2b, subject_id: int) -> float:
    digest = keyed.copy()
    digest.update(str(int(subject_id)).encode())
    return int.from_bytes(digest.digest(), "big") / 2**64


def _split(place: float, validation: float, test: float) -> str:
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"
