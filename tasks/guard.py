"""What an error may say when it leaves a step, a shard or a rank: nothing that a note could hold.

A ClinfuseError passes unchanged. Of any other exception only its type and place get out, its
message if it is a fixed one, and a refusal of the operating system in the system's words.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tasks.errors import ClinfuseError, StepFailed, SystemRefused

Made = TypeVar("Made")

_ROOT = Path(__file__).parents[1]
_OURS = ("flows", "tasks", "tests")
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

# Whole messages, word for word, that cannot contain a note. Every other message is withheld.
FIXED_MESSAGES = frozenset(
    line
    for line in (_ROOT / "tasks" / "fixed_messages.txt").read_text().splitlines()
    if not line.startswith("#")
)


def guarded(kind: str, work: Callable[[], Made]) -> Made:
    """Do the work of a step of that kind; all that it raises becomes a ClinfuseError."""
    failure: ClinfuseError
    try:
        return work()
    except ClinfuseError as error:
        failure = error
    except Exception as error:
        failure = failure_of(kind, error)
    # raised here, without cause or context, so that neither a traceback nor a pickle has them
    failure.__cause__ = failure.__context__ = None
    raise failure.with_traceback(None)


def failure_of(kind: str, error: Exception) -> SystemRefused | StepFailed:
    """What to report for an unexpected exception in a step of that kind."""
    if refused := refusal_of(f"step '{kind}'", error):
        return refused
    what = f"{type(error).__name__} at {place_of(error)}"
    cause = fixed_message(error) or "the message is withheld because it may quote a note"
    return StepFailed(f"step '{kind}' stopped with {what}; {cause}")


def refusal_of(who: str, error: BaseException) -> SystemRefused | None:
    """What to report if the exception is a refusal of the operating system; else None."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors, which writes files itself, has the number in its message's fixed words
    if type(error).__name__ == "SafetensorError" and (
        code := re.search(r"\(os error (\d+)\)", str(error))
    ):
        number = int(code[1])
    if number is None or number not in errno.errorcode:
        return None
    # only the number's standard words: the error's message and file name may hold anything
    advice = _ADVICE.get(number, "correct that")
    return SystemRefused(f"{who} stopped: {os.strerror(number)}; {advice}, and run again")


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
    """file:line of the innermost frame in our code."""
    frames = [
        f"{path.relative_to(_ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(_ROOT)
        and path.relative_to(_ROOT).parts[0] in _OURS
    ]
    return frames[-1] if frames else "an unknown place"
