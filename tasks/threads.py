"""Do work in parts on several cores: numpy sorts and copies without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = min(8, os.cpu_count() or 1)

Work = TypeVar("Work")
Done = TypeVar("Done")


def in_parts(work: Callable[[Work], Done], parts: Sequence[Work]) -> list[Done]:
    """Do the parts, and return their results in order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, parts))
