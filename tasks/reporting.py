"""Report from within a long piece of work how far it has come, to a listener if there is one.

    for number, label in enumerate(labels):
        report(Reading(number, len(labels), "labels"))

Without a listener nothing happens; a step's readings are shown in the terminal and in Prefect
(`tasks/progress.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How much of how much is done; it names no patient."""

    done: float
    total: float
    words: str = ""  # beside the count
    row: Mapping[str, object] | None = None  # of the table on the run's page, e.g. step and loss
    milestone: bool = False  # whether the row is kept when the table gets too long for all of them


_listener: ContextVar[Callable[[Reading], None] | None] = ContextVar("listener", default=None)


def report(reading: Reading) -> None:
    """Pass the reading to the listener, if there is one."""
    if listener := _listener.get():
        listener(reading)


@contextmanager
def listening(listener: Callable[[Reading], None]) -> Iterator[None]:
    """Within it, the listener gets every reading that this thread reports."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
