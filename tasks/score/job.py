"""What the scoring program is told, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.config import Config


class ScoreJob(Config):
    """Which texts are scored, by which models."""

    store: Path
    arrivals: Path  # an artifact of that kind
    members: tuple[str, ...]  # keys of task-adapter artifacts
    outcomes: tuple[str, ...] = ()  # empty: all that they have
    references: Mapping[str, Path]  # by the member's key, an artifact of that kind
    base: Path | None = None  # where it is no artifact
