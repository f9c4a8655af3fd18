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
from typing import Protocol


class AnyReading(Protocol):
    """What a program or a function reports; it names no patient."""

    @property
    def done(self) -> float: ...
    @property
    def total(self) -> float: ...
    @property
    def words(self) -> str:
        """The words beside the count."""
        ...

    @property
    def row(self) -> Mapping[str, object] | None:
        """A row for the table on the run's page, e.g. step and loss; None: nothing to show."""
        ...

    @property
    def milestone(self) -> bool:
        """Whether the row is kept when the table gets too long for all of them."""
        ...


@dataclass(frozen=True)
class Reading:
    """How much of how much is done."""

    done: float
    total: float
    words: str = ""
    row: Mapping[str, object] | None = None
    milestone: bool = False


_listener: ContextVar[Callable[[AnyReading], None] | None] = ContextVar("listener", default=None)


def report(reading: AnyReading) -> None:
    """Pass the reading to the listener, if there is one."""
    if listener := _listener.get():
        listener(reading)


@contextmanager
def listening(listener: Callable[[AnyReading], None]) -> Iterator[None]:
    """Within it, the listener gets every reading that this thread reports."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
