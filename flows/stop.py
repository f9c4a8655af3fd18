"""How a run from the terminal ends when it is told to: soon, in one sentence, and for certain."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SECONDS = 28.0  # ranks have 25 s to save; whoever told us to stop kills us after 30 s
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(KeyboardInterrupt):
    """The run was told to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {NAMES.get(signal.Signals(number), str(number))}")
        self.exit_code = 128 + number


@contextmanager
def stopping() -> Iterator[None]:
    """Within it, SIGTERM and Ctrl-C raise Stopped, and STOP_SECONDS after it nothing runs any more.

    Prefect has a handler of its own while a flow runs, so the signals are also watched where
    Python writes each down (`signal.set_wakeup_fd`): an API that is gone keeps Prefect asking for
    minutes.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = {number: signal.signal(number, stop) for number in NAMES}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        theirs.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(signals: socket.socket) -> None:
    """End the process by force some time after the first signal."""
    while received := signals.recv(1):
        if (number := received[0]) in NAMES:
            threading.Event().wait(STOP_SECONDS)
            print(f"clinfuse: ended by force {STOP_SECONDS:.0f} s after a signal", file=sys.stderr)
            os._exit(128 + number)
