"""How far a long piece of work has come, said from within it to whoever listens.

    for number, label in enumerate(labels):
        report(Reading(number, len(labels), "labels"))

Nobody has to listen; a step's readings reach the terminal and Prefect (`tasks/progress.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


class Said(Protocol):
    """A reading, as a program or a function gives it; it names no patient."""

    @property
    def done(self) -> float: ...
    @property
    def total(self) -> float: ...
    @property
    def words(self) -> str:
        """What stands beside the count."""
        ...

    @property
    def row(self) -> Mapping[str, object] | None:
        """A row of the table on the run's page, e.g. step and loss; None: nothing to keep."""
        ...

    @property
    def milestone(self) -> bool:
        """Whether the table keeps the row when it grows too long for all of them."""
        ...


@dataclass(frozen=True)
class Reading:
    """So much of so much is done."""

    done: float
    total: float
    words: str = ""
    row: Mapping[str, object] | None = None
    milestone: bool = False


_listener: ContextVar[Callable[[Said], None] | None] = ContextVar("listener", default=None)


def report(reading: Said) -> None:
    """Tell whoever listens."""
    if listener := _listener.get():
        listener(reading)


@contextmanager
def listening(listener: Callable[[Said], None]) -> Iterator[None]:
    """Within it, the listener is told every reading that this thread reports."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
