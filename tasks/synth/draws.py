"""Random numbers by counter: each is a function of (seed, stream, key, slot) and nothing else.

So a patient's content depends neither on how many patients are made nor on the chunk size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.sampling import GOLDEN, keyed_numbers, splitmix

Keys = NDArray[np.integer]
Uniforms = NDArray[np.float64]
Option = TypeVar("Option")


def bits(seed: int, stream: str, keys: Keys, slots: int) -> NDArray[np.uint64]:
    """Return 64 random bits for each key and slot, [keys, slots].

    The generator is SplitMix64, its finalizer applied to the stream and key, then to the slot.
    """
    rows = splitmix(keyed_numbers([f"{seed}/{stream}"]) + keys.astype(np.uint64) * GOLDEN)
    columns = np.arange(1, slots + 1, dtype=np.uint64) * GOLDEN
    return splitmix(rows[:, None] + columns)


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


def pick(options: Sequence[Option], uniform: float) -> Option:
    """Pick an option by a number in [0, 1): all are equally likely.

    >>> pick("abcd", 0.5)
    'c'
    """
    return options[int(uniform * len(options))]


def sources(seed: int, stream: str, keys: Keys) -> list[random.Random]:
    """Return one generator for each key, for prose that takes an unknown number of draws."""
    return [random.Random(int(word)) for word in bits(seed, stream, keys, 1)[:, 0]]
