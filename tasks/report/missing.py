"""One boundary around each part of a page: what fails says so in its place, and fails alone.

A part that fails is a fault of ours; it must be seen, so it is on the page, in the step's counts
and in its log. Errors that a user can act on (a damaged table, a full disk) pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from tasks.errors import ClinfuseError
from tasks.guard import fixed_message, place_of

Made = TypeVar("Made")
_failed: ContextVar[list[Missing] | None] = ContextVar("failed", default=None)


@dataclass(frozen=True)
class Missing:
    """A part that could not be made: which, and why (no message that could quote anything)."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what} could not be made: {self.why}"


def attempt(what: str, make: Callable[[], Made]) -> Made | Missing:
    """What `make` makes, or why it could not."""
    try:
        return make()
    except (ClinfuseError, OSError, MemoryError):
        raise
    except Exception as error:
        cause = fixed_message(error)
        why = f"{type(error).__name__} at {place_of(error)}{f' ({cause})' if cause else ''}"
        missing = Missing(what, why)
        failed = _failed.get()
        if failed is not None:
            failed.append(missing)
        return missing


@contextmanager
def failures() -> Iterator[list[Missing]]:
    """Within it, every part that could not be made is listed."""
    failed: list[Missing] = []
    token = _failed.set(failed)
    try:
        yield failed
    finally:
        _failed.reset(token)
