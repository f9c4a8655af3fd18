"""What a step shows while it works: a bar, log lines; on Prefect's page a curve and a table."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.learning_curve import LearningCurve
from tasks.reporting import Reading, listening

LINE_SECONDS = 10.0  # between log lines: each takes Prefect about 1 ms
UPDATE_SECONDS = 2.0
TABLE_SECONDS = 10.0  # between updates of the table and its curve; later on
TABLE_SHARE = 0.01  # of the time so far, if that is more: some 700 updates in three days
TABLE_ROWS = 40


@contextmanager
def progress(title: str, key: str) -> Iterator[None]:
    """Show what is reported within it.

    Args:
        title: what is being made; it must not name a patient.
        key: of the Prefect artifacts, so that each thing that is made has its history.
    """
    shown = _Shown(title, key)
    try:
        with listening(shown.report):
            yield
        shown.close()
    finally:
        shown.bar.stop()


class _Shown:
    def __init__(self, title: str, key: str) -> None:
        self.title, self.key = title, key
        self.last: Reading | None = None
        self.table = _Table(f"{key}-curve", f"{title}, as it learns")
        self.next_line = self.next_update = time.monotonic() + UPDATE_SECONDS
        self.artifact: UUID | None = None
        self.pace = Pace()
        terminal = sys.stderr.isatty()
        words = (TextColumn("{task.description}", markup=False), BarColumn())
        self.bar = Progress(
            *words,
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=_console(),
            disable=not terminal,
            transient=True,
        )
        self.line_seconds = LINE_SECONDS * (6 if terminal else 1)
        self.task = self.bar.add_task(title, total=None, words="")
        self.bar.start()

    def report(self, reading: Reading) -> None:
        self.last = reading
        self.pace.add(reading, time.monotonic())
        self.bar.update(self.task, completed=reading.done, total=reading.total, words=reading.words)
        self.table.add(reading)
        now = time.monotonic()
        if now >= self.next_line:
            self.next_line = now + self.line_seconds
            get_run_logger().info("%s", self._line(reading))
        if now >= self.next_update:
            self.next_update = now + UPDATE_SECONDS
            self._update(reading)

    def close(self) -> None:
        if self.last and (self.artifact or self.table.rows):
            self._update(self.last)
        self.table.publish()

    def _update(self, reading: Reading) -> None:
        percent = min(100.0, 100.0 * reading.done / max(reading.total, 1))
        line = self._line(reading)
        if self.artifact is None:
            self.artifact = create_progress_artifact(  # type: ignore[assignment]
                percent, key=f"{self.key}-progress", description=line
            )
        else:
            update_progress_artifact(self.artifact, percent, description=line)

    def _line(self, reading: Reading) -> str:
        count = f"{self.title}: {reading.done:,.0f}/{reading.total:,.0f}"
        words = filter(None, [reading.words, self.pace.left(reading, time.monotonic())])
        return f"{count} {', '.join(words)}".rstrip()


@dataclass
class Pace:
    """How fast readings come to their end."""

    total: float = -1.0  # of what is read; one thing may follow another
    begin: float = 0.0  # done, at the first reading
    seconds: float = 0.0  # the time of that

    def add(self, reading: Reading, now: float) -> None:
        """Begin anew where the reading is of something else."""
        if reading.total != self.total or reading.done < self.begin:
            self.total, self.begin, self.seconds = reading.total, reading.done, now

    def left(self, reading: Reading, now: float) -> str:
        """How long the rest takes at the pace so far; nothing where that is not known, or all done.

        >>> pace = Pace()
        >>> pace.add(Reading(10, 100), 5.0)  # as of a training that resumes
        >>> pace.left(Reading(10, 100), 5.0), pace.left(Reading(40, 100), 65.0)
        ('', '2 min left')
        """
        done, rest = reading.done - self.begin, reading.total - reading.done
        if done <= 0 or rest <= 0:
            return ""
        seconds = (now - self.seconds) * rest / done
        if seconds < 90:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


class _Table:
    """The readings so far as a table on the run's page: evenly spaced ones, and all milestones.

    Their curve stands in its description, since that is what Prefect's page of a run shows of an
    artifact; the table and an image artifact are shown on pages of their own.
    """

    def __init__(self, key: str, description: str) -> None:
        self.key, self.title = key, description
        self.curve = LearningCurve()
        self.readings: list[tuple[int, Reading]] = []  # numbered as they arrive
        self.count, self.stride = 0, 1
        self.began = self.published = time.monotonic()
        self.artifact: UUID | None = None

    @property
    def description(self) -> str:
        return " ".join(filter(None, [self.title, self.curve.markdown()]))

    @property
    def rows(self) -> list[dict[str, object]]:
        return [dict(reading.row) for _, reading in self.readings if reading.row]

    def add(self, reading: Reading) -> None:
        if reading.row is None:
            return
        self.curve.add(reading)
        self.readings.append((self.count, reading))
        self.count += 1
        if self.count / self.stride > TABLE_ROWS:
            self.stride *= 2
        self.readings = [
            (number, kept)
            for number, kept in self.readings
            if kept.milestone or number % self.stride == 0 or number == self.count - 1
        ]
        now = time.monotonic()
        if now - self.published > max(TABLE_SECONDS, TABLE_SHARE * (now - self.began)):
            self.publish()

    def publish(self) -> None:
        self.published = time.monotonic()
        if not self.readings:
            return
        if self.artifact is None:
            self.artifact = create_table_artifact(  # type: ignore[assignment]
                self.rows, key=self.key, description=self.description
            )
        else:
            update = ArtifactUpdate(data=json.dumps(self.rows), description=self.description)
            with get_client(sync_client=True) as client:
                client.update_artifact(self.artifact, update)


def _console() -> Console:
    """Where Prefect prints its log lines: on the same console they do not break the bar."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            return handler.console
    return Console(stderr=True)
