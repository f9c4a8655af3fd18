"""Take the next items of an iterator on another thread while the caller works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
    """Yield the items, up to `depth` ahead; what fails there is raised here, in its turn.

    Inflating, parsing and compressing all leave the interpreter, so they run beside each other;
    the depth lets one go on while the next works in bursts.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
