"""A run whose worker is killed goes on, though nobody reads the pipe that it prints to."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def outlive_reader() -> None:
    """Print to nowhere, from now on in this process, once a pipe is broken.

    Prefect prints its log by rich, whose consoles end the process instead, as is usual in a
    terminal (`clinfuse run | head`).
    """
    Console.on_broken_pipe = _print_nowhere  # type: ignore[method-assign, assignment]


def _print_nowhere(console: Console) -> None:
    console.quiet = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
