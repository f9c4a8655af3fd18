"""What steps have freed is given back to the system while training goes on."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tasks.training.watchers.trimming import EVERY_STEPS, Trimming

PIECE, PIECES = 100_000, 2000  # bytes, below what glibc maps by itself; 191 MiB in all

NO_STEP: Any = None  # a watcher that looks at none

libc = ctypes.CDLL(None)


@pytest.mark.skipif(not hasattr(libc, "malloc_trim"), reason="the C library gives nothing back")
def test_memory_that_is_free_between_what_is_kept_is_given_back() -> None:
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
    pieces = [libc.malloc(PIECE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    kept = pieces[7::8]  # the last one, too: the heap's end is not free
    for piece in set(pieces).difference(kept):
        libc.free(piece)
    trimming, resident = Trimming(), psutil.Process().memory_info
    before = resident().rss
    trimming.stepped(_after(EVERY_STEPS - 1), NO_STEP)
    assert resident().rss > before - PIECE * PIECES / 2
    trimming.stepped(_after(EVERY_STEPS), NO_STEP)
    assert resident().rss < before - PIECE * PIECES / 2
    for piece in kept:
        libc.free(piece)


def _after(steps: int) -> Any:
    """A run that has taken so many steps."""
    return SimpleNamespace(state=SimpleNamespace(step=steps))
