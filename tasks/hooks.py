"""Commands that are run when a flow run has ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from tasks.config import Unkeyed

When = Literal["on_completion", "on_failure", "on_crashed", "on_cancellation"]


class HooksConfig(Unkeyed):
    """Commands to run when a flow run has ended, each a list of a program and its arguments.

    They are named in a file alone, never in an override: a run form must not name a program.
    """

    on_completion: tuple[str, ...] = ()
    """When the run has come to its end, e.g. [infra/tell-the-ward.sh, done]"""
    on_failure: tuple[str, ...] = ()
    """When a step has failed"""
    on_crashed: tuple[str, ...] = ()
    """When the run was told to stop, or Prefect could not go on"""
    on_cancellation: tuple[str, ...] = ()
    """When the run was cancelled, in the UI say"""
    timeout_seconds: float = Field(default=60, gt=0)
    """A command that takes longer is ended"""

    def command(self, when: When) -> tuple[str, ...]:
        command: tuple[str, ...] = getattr(self, when)
        return command


def call(command: Sequence[str], facts: Mapping[str, str], timeout_seconds: float) -> str:
    """Run the command with the facts in its environment; what went wrong, or nothing.

    What it prints goes where this process prints, and not to Prefect.
    """
    try:
        process = subprocess.Popen(
            list(command),
            env={**os.environ, **facts},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"could not be started ({error.strerror})"
    try:
        code = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        return f"took longer than {timeout_seconds:g} s (hooks.timeout_seconds) and was ended"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"ended with exit status {code}" if code else ""
