"""Do work on several cores: numpy and pyarrow sort, parse and copy without Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

THREADS = min(8, os.cpu_count() or 1)

Work = TypeVar("Work")
Done = TypeVar("Done")


def in_parts(work: Callable[[Work], Done], parts: Sequence[Work]) -> list[Done]:
    """Do the parts, and return their results in order."""
    with one_blas_thread(), ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, parts))


def prefetched(items: Iterator[Work], depth: int = 4) -> Iterator[Work]:
    """Yield the items, `depth` of them in advance; an error is raised here, in its item's turn.

    Inflating, parsing and compressing all release the interpreter's lock, so they run in parallel;
    the depth lets one go on while the next works in bursts.
    """
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, None) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not None:
                pending.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS from threads of its own: they would wait for ours, at up to 20 times the time.

    It holds for the whole process; so enter it where threads are started, never within one.
    """
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # 10 ms, where a limit of one that is there takes 0.02
