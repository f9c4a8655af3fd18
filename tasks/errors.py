"""The errors that a user can act on: what, where, what to do.

A message never holds a note's text nor a patient's, an admission's or a note's identifier: it
may end up in Prefect's database or a terminal.
"""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_OURS = ("flows", "tasks", "tests")


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
    """An unexpected exception inside a step: its type and place.

    Its message only where that is a fixed one; any other may quote a patient.
    """

    @classmethod
    def of(cls, kind: str, error: Exception) -> StepFailed:
        """The failure of a step of that kind."""
        what = f"{type(error).__name__} at {place_of(error)}"
        cause = fixed_message(error) or "the message is withheld because it may quote a note"
        return cls(f"step '{kind}' stopped with {what}; {cause}")


# Whole messages of Python's and numpy's arithmetic into which nothing is ever put: they name a
# cause, and no note can be in them. What stands in no message of this list is withheld.
FIXED_MESSAGES = frozenset(
    {
        "0.0 cannot be raised to a negative power",
        "Matrix is not positive definite",
        "SVD did not converge",
        "Singular matrix",
        "attempt to get argmax of an empty sequence",
        "attempt to get argmin of an empty sequence",
        "cannot convert float NaN to integer",
        "cannot convert float infinity to integer",
        "division by zero",
        "expected a positive input",
        "float division by zero",
        "float floor division by zero",
        "float modulo",
        "int too large to convert to float",
        "integer division or modulo by zero",
        "integer modulo by zero",
        "list index out of range",
        "math domain error",
        "math range error",
        "max() arg is an empty sequence",
        "max() iterable argument is empty",
        "mean requires at least one data point",
        "min() arg is an empty sequence",
        "min() iterable argument is empty",
        "need at least one array to concatenate",
        "no median for empty data",
        "tuple index out of range",
        "zero-size array to reduction operation maximum which has no identity",
        "zero-size array to reduction operation minimum which has no identity",
    }
)


def fixed_message(error: BaseException) -> str | None:
    """The exception's message if it is one of FIXED_MESSAGES, word for word; else None.

    >>> fixed_message(ValueError("math domain error"))
    'math domain error'
    >>> fixed_message(ValueError("cannot parse the patient was admitted with"))
    """
    match error.args:
        case [message] if type(message) is str and message in FIXED_MESSAGES:
            return message
        case _:
            return None


def place_of(error: BaseException) -> str:
    """file:line of the innermost frame that is ours."""
    frames = [
        f"{path.relative_to(_ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(_ROOT)
        and path.relative_to(_ROOT).parts[0] in _OURS
    ]
    return frames[-1] if frames else "an unknown place"
