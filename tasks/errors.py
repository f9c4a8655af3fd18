"""The errors that a user can act on: what, where, what to do.

A message never holds a note's text nor a patient's, an admission's or a note's identifier: it
may end up in Prefect's database or a terminal.
"""

from __future__ import annotations


class ClinfuseError(Exception):
    """One clear sentence for the user; the border of a step lets it pass as it is."""


class ConfigError(ClinfuseError):
    """A configuration key, value or file is wrong."""


class SourceError(ClinfuseError):
    """A source table is missing, unreadable, truncated, or too bad to go on with."""


class StoreError(ClinfuseError):
    """The store cannot be read or written, or an artifact in it is damaged."""


class ModelError(ClinfuseError):
    """A base model, tokenizer or adapter cannot be loaded, or does not fit."""


class TrainingError(ClinfuseError):
    """A training program stopped, its ranks died, or its run collapsed."""


class RanksDied(TrainingError):
    """Ranks were killed from outside; the training can be resumed from its last checkpoint."""


class EvaluationError(ClinfuseError):
    """Predictions and outcomes do not fit together, or a metric cannot be computed."""


class PrefectError(ClinfuseError):
    """Prefect's API does not answer, or its temporary server does not start."""


class SystemRefused(ClinfuseError):
    """The operating system would not do what a step needs: the disk is full, or read-only, ..."""


class StepFailed(ClinfuseError):
    """An unexpected exception inside a step: its type and place (`tasks/guard.py`)."""
