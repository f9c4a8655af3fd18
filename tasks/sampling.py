"""Draws by a keyed hash: an id's number stays the same whatever other ids there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio; odd, so that no product loses a bit
_KEY_BYTES = 64  # the longest key of BLAKE2b


def keyed_numbers(
    ids: Iterable[object], key: str = "", digest_bytes: int = 8
) -> NDArray[np.uint64]:
    """A number below 256**digest_bytes for each id: the BLAKE2b hash of its text under the key.

    >>> keyed_numbers([10000032, 10000980], "clinfuse", digest_bytes=1).tolist()
    [228, 82]
    """
    keyed = hashlib.blake2b(key=key.encode()[:_KEY_BYTES], digest_size=digest_bytes)

    def number(identifier: object) -> int:
        digest = keyed.copy()
        digest.update(str(identifier).encode())
        return int.from_bytes(digest.digest())

    return np.fromiter(map(number, ids), np.uint64)


def keyed_uniforms(ids: Iterable[object], key: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each id: those below x are a random sample, of share x."""
    return keyed_numbers(ids, key) / 2.0**64


def splitmix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit depends on the whole word.

    >>> splitmix(np.array([1234567], np.uint64) + GOLDEN).tolist()  # the first draw from 1234567
    [6457827717110365317]
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
