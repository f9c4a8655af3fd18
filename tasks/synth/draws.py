"""Random numbers by counter: each is a function of (seed, stream, key, slot) and of nothing else.

So a patient's content does not depend on how many patients are made, nor on the size of a chunk.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Uniforms = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def bits(seed: int, stream: str, keys: Keys, slots: int) -> Keys:
    """Return 64 random bits for each key and slot, [keys, slots].

    The generator is splitmix64 (Steele, Lea, Flood 2014), its finalizer applied to the stream,
    then to the key, then to the slot.
    """
    start = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    base = np.uint64(int.from_bytes(start, "big"))
    with np.errstate(over="ignore"):
        rows = _mixed(base + keys.astype(np.uint64) * _GOLDEN)
        columns = np.arange(1, slots + 1, dtype=np.uint64) * _GOLDEN
        return _mixed(rows[:, None] + columns[None, :])


def uniforms(seed: int, stream: str, keys: Keys, slots: int) -> Uniforms:
    """Return numbers uniform in [0, 1) for each key and slot, [keys, slots]."""
    return (bits(seed, stream, keys, slots) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seed: int, stream: str, keys: Keys, slots: int) -> Uniforms:
    """Return standard normal numbers for each key and slot (Box and Muller), [keys, slots]."""
    pairs = uniforms(seed, stream, keys, 2 * slots)
    radius = np.sqrt(-2.0 * np.log1p(-pairs[:, :slots]))
    return radius * np.cos(2.0 * np.pi * pairs[:, slots:])


def choose(cumulative: Uniforms, uniform: Uniforms) -> NDArray[np.int64]:
    """Pick a column by its cumulative probability: [n, k] or [k], and [n] -> [n].

    >>> choose(np.array([0.2, 1.0]), np.array([0.1, 0.9])).tolist()
    [0, 1]
    """
    return np.minimum((uniform[:, None] >= cumulative).sum(1), cumulative.shape[-1] - 1)


def sources(seed: int, stream: str, keys: Keys) -> list[random.Random]:
    """Return one generator for each key, for prose that takes an unknown number of draws."""
    return [random.Random(int(word)) for word in bits(seed, stream, keys, 1)[:, 0]]


def _mixed(words: Keys) -> Keys:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
