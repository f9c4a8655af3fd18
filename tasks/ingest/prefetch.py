"""Take the next items of an iterator on another thread while the caller works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
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
