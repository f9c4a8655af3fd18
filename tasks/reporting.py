"""Report from within a long piece of work how far it has come, to whoever listens.

    for number, label in enumerate(labels):
        report(Reading(number, len(labels), "labels"))

Without a listener nothing happens; a step's readings are shown in the terminal and in Prefect
(`tasks/progress.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Judged:
    """What a training was worth on validation at a reading; the higher the better."""

    training: str  # its name
    value: float


@dataclass(frozen=True)
class Reading:
    """How much of how much is done; it names no patient."""

    done: float
    total: float
    words: str = ""  # beside the count
    row: Mapping[str, object] | None = None  # of the table on the run's page, e.g. step and loss
    milestone: bool = False  # whether the row is kept when the table gets too long for all of them
    judged: Judged | None = None
    training: str = ""  # the name of the one that is read
    measured: Mapping[str, float] = field(default_factory=dict)  # its values, drawn over `done`


_listeners: ContextVar[tuple[Callable[[Reading], None], ...]] = ContextVar("listeners", default=())


def report(reading: Reading) -> None:
    """Pass the reading to every listener, the innermost first."""
    for listener in reversed(_listeners.get()):
        listener(reading)


@contextmanager
def listening(listener: Callable[[Reading], None]) -> Iterator[None]:
    """Within it, the listener gets every reading that this thread reports.

    What it raises ends the work that reports, and the ranks of a training.
    """
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)
