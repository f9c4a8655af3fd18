"""What a long step shows while it works: a Prefect progress artifact, a bar, or log lines."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0  # at most one log line so often: Prefect takes about 1 ms for each
UPDATE_SECONDS = 2.0


class Reading(Protocol):
    """How far a program has come, as it says itself."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def words(self) -> str: ...


@contextmanager
def progress(title: str) -> Iterator[Callable[[Reading], None]]:
    """Show the readings that the caller reports, until the block ends.

    The title becomes the key of a Prefect progress artifact; it must not name a patient.
    """
    shown = _Shown(title)
    try:
        yield shown.report
        shown.close()
    finally:
        shown.bar.stop()


class _Shown:
    def __init__(self, title: str) -> None:
        self.title = title
        self.artifact: UUID | None = None
        self.last: Reading | None = None
        self.updated = self.logged = 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        terminal = sys.stderr.isatty()
        self.bar = Progress(
            *columns,
            TextColumn("{task.fields[words]}"),
            console=Console(stderr=True),
            disable=not terminal,
            transient=True,
        )
        self.line_seconds = LINE_SECONDS * (6 if terminal else 1)
        self.task = self.bar.add_task(title, total=None, words="")
        self.bar.start()

    def report(self, reading: Reading) -> None:
        self.last = reading
        self.bar.update(self.task, completed=reading.done, total=reading.total, words=reading.words)
        now = time.monotonic()
        if now - self.logged > self.line_seconds:
            self.logged = now
            get_run_logger().info("%s", _line(self.title, reading))
        if now - self.updated > UPDATE_SECONDS:
            self.updated = now
            self._update(reading)

    def close(self) -> None:
        if self.last:
            self._update(self.last)

    def _update(self, reading: Reading) -> None:
        percent = min(100.0, 100.0 * reading.done / max(reading.total, 1))
        if self.artifact is None:
            key = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
            self.artifact = create_progress_artifact(percent, key=key, description=self.title)  # type: ignore[assignment]
        else:
            update_progress_artifact(self.artifact, percent, description=_line(self.title, reading))


def _line(title: str, reading: Reading) -> str:
    return f"{title}: {reading.done}/{reading.total} {reading.words}".rstrip()
