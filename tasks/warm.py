"""The warm process that ranks are forked from: started, asked for ranks, stopped, and kept.

What ranks import takes seconds; the warm process (`tasks/training/ranks.py`) has imported it. It
lives as long as this process, holds no data and no GPU, and serves one request at a time. One that
is idle is kept; where two threads want ranks at once, the second gets a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path

from tasks.errors import RanksDied, TrainingError

STOP_SECONDS = 25.0  # Prefect kills a cancelled flow after 30 s
SAVE_SECONDS = 20  # of those, what ranks get to save and leave
ALONE_SECONDS = 5.0  # what ranks get when one has failed: without it, they cannot save
NOWHERE = f"{os.devnull}/cache"  # HF_HOME of the warm process itself: nothing can be written there

Death = tuple[int, int]  # a rank and its exit code, which is -9 where SIGKILL ended it


@dataclass(frozen=True)
class Request:
    """The ranks to start; the warm process reads it as a line of JSON."""

    module: str  # a training program, whose `main` each rank calls
    job: str  # the path of its job.json
    ranks: int
    log: str  # of the warm process, while it serves this request
    folder: str  # the ranks' current folder
    umask: int
    environment: Mapping[str, str]  # what holds for this request alone
    world: int  # ranks on all machines together,
    first_rank: int = 0  # of which this machine's begin here
    meeting: tuple[str, int] = ("127.0.0.1", 0)  # where the first listens; port 0: any free one


class Warm:
    """One warm process."""

    def __init__(
        self, environment: Mapping[str, str], modules: tuple[str, ...] = (), log: Path | None = None
    ) -> None:
        """Start it with the environment of its ranks; it imports the modules at once."""
        self.environment = environment
        self.log = log
        self.serving = False
        with (log or Path(os.devnull)).open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.training.ranks", *modules],
                env={**environment, "HF_HOME": NOWHERE},
                stdin=subprocess.PIPE,  # ends when we die, and the ranks with it
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches us alone; we tell the ranks
            )
        assert self.process.stdin
        assert self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def ask(self, request: Request) -> None:
        self.log = Path(request.log)
        self.serving = True
        with suppress(BrokenPipeError):  # it has just died; who waits for the answer is told
            self.requests.write(json.dumps(asdict(request)).encode() + b"\n")

    def deaths(self, seconds: float) -> list[Death] | None:
        """How the ranks ended, once all have; None where they still work after so many seconds.

        Raises RanksDied or TrainingError where the warm process itself has ended.
        """
        if not connection.wait([self.answers.fileno()], seconds):
            return None
        line = self.answers.readline()
        self.serving = False
        if not line:
            raise _end_of(self.process.wait(), self.log)
        return [(rank, code) for rank, code in json.loads(line)]

    def stop(self, seconds: float = STOP_SECONDS) -> list[Death]:
        """End the ranks: first asked, so that they save, then with the warm process itself.

        Returns how those ended that did so when asked.
        """
        deadline = time.monotonic() + seconds
        deaths: list[Death] | None = None
        with suppress(TrainingError):  # it has ended, and its ranks with it
            while self.serving and time.monotonic() < deadline:
                self.process.send_signal(signal.SIGTERM)  # lost where the request is not yet read
                deaths = self.deaths(seconds=1.0)
        if self.serving:
            self.serving = False
            self.end()
        return deaths or []

    def end(self) -> None:
        """Let the warm process go; ranks that it still has end with it."""
        self.process.kill()
        self.process.wait()
        self.requests.close()
        self.answers.close()


_idle: list[Warm] = []  # at most one
_one_at_a_time = threading.Lock()


@contextmanager
def serving(environment: Mapping[str, str], request: Request) -> Iterator[Warm]:
    """A warm process of that environment that serves the request; whatever leaves, no rank does."""
    warm = _take(environment) or Warm(environment, log=Path(request.log))
    try:
        warm.ask(request)
        yield warm
    finally:
        try:
            warm.stop()
        finally:  # also where a second signal ends that wait
            _keep(warm)


def warm_up(environment: Mapping[str, str], modules: tuple[str, ...]) -> None:
    """Start a warm process that imports the modules meanwhile, if there is none."""
    _keep(_take(environment) or Warm(environment, modules))


@atexit.register
def let_go() -> None:
    """End the idle warm process, whose memory nobody needs any more; the next launch starts one."""
    with _one_at_a_time:
        while _idle:
            _idle.pop().end()


def _take(environment: Mapping[str, str]) -> Warm | None:
    """The idle process, if it lives and has that environment; one that has not is let go."""
    with _one_at_a_time:
        warm = _idle.pop() if _idle else None
    if warm and (warm.process.poll() is not None or warm.environment != environment):
        warm.end()
        return None
    return warm


def _keep(warm: Warm) -> None:
    with _one_at_a_time:
        if not _idle and not warm.serving and warm.process.poll() is None:
            _idle.append(warm)
            return
    warm.end()


# a forked child is not who the warm process serves
os.register_at_fork(after_in_child=_idle.clear)


def _end_of(code: int, log: Path | None) -> TrainingError:
    who = "the process that ranks are started from"
    if code >= 0:
        return TrainingError(f"{who} ended with exit code {code}; its log is {log}")
    return RanksDied(
        f"{who} was ended by {signal.Signals(-code).name}, and they ended with it; its log is "
        f"{log}; run again to resume from the last checkpoint"
    )
