"""The errors that a user can act on: what, where, what to do.

A message never holds a note's text nor a patient's, an admission's or a note's identifier: it
may end up in Prefect's database or a terminal.
"""

from __future__ import annotations

import errno
import os


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

    @classmethod
    def of(cls, kind: str, error: Exception) -> SystemRefused | None:
        """The failure of a step of that kind; None where it is not the system's.

        The words are those of the error's number: its message and file name may be of anything.
        """
        number = error.errno if isinstance(error, OSError) else None
        if number is None or number not in errno.errorcode:
            return None
        advice = _ADVICE.get(number, "correct that")
        return cls(f"step '{kind}' stopped: {os.strerror(number)}; {advice}, and run again")


_FULL = "free space where the store and temporary files lie"
_RIGHTS = "check the permissions of the store and of what the configuration names"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "choose a store that can be written with --store",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free memory",
}


class StepFailed(ClinfuseError):
    """An unexpected exception inside a step, without its message, which may quote a patient."""

    @classmethod
    def at(cls, kind: str, exception: str, place: str) -> StepFailed:
        """The failure of a step of that kind: the exception's type, and file:line of ours."""
        return cls(
            f"step '{kind}' stopped with {exception} at {place}; "
            "the message is withheld because it may quote a note"
        )
