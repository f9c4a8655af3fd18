"""The errors that a user can act on: what, where, what to do.

A message never contains the text of a note, nor the identifier of a patient, an admission or a
note: it may end up in Prefect's database or a terminal.
"""

from __future__ import annotations


class ClinfuseError(Exception):
    """One clear sentence for the user; it leaves a step unchanged."""


class ConfigError(ClinfuseError):
    """A configuration key, value or file is wrong."""


class SourceError(ClinfuseError):
    """A source table is missing, unreadable, truncated, or too faulty to use."""


class StoreError(ClinfuseError):
    """The store cannot be read or written, or an artifact in it is damaged."""


class ModelError(ClinfuseError):
    """A base model, tokenizer or adapter cannot be loaded, or does not fit."""


class TrainingError(ClinfuseError):
    """A training program stopped, its ranks died, or its run collapsed."""


class RanksDied(TrainingError):
    """Ranks were killed from outside; the training can resume from its last checkpoint."""


class Pruned(TrainingError):
    """A search gave a trial up: others were better at the same share of their training."""


class EvaluationError(ClinfuseError):
    """Predictions and outcomes do not match, or a metric cannot be computed."""


class PrefectError(ClinfuseError):
    """Prefect's API does not answer, or its temporary server does not start."""


class SystemRefused(ClinfuseError):
    """The operating system refused what a step needs: the disk is full, read-only, ..."""


class StepFailed(ClinfuseError):
    """An unexpected exception inside a step: its type and place (`tasks/guard.py`)."""
