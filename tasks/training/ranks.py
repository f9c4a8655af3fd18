"""The warm process: it has imported what training programs need, and ranks are forked from it.

    python -m tasks.training.ranks [MODULE ...]

imports the modules and then serves requests: each is a line of JSON on stdin (`warm.Request`), and
is answered on stdout, once all ranks have ended, by a list of [rank, exit code]. `tasks/warm.py`
is the other end; when that process dies, stdin ends, and so do this process and its ranks.

Nothing is computed here, and no GPU is touched: neither threads nor a CUDA context survive a fork.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from tasks.failures import PREEMPTED
from tasks.training.program import SOCKET, run_module
from tasks.warm import ALONE_SECONDS, SAVE_SECONDS, Death, Request

POLL_SECONDS = 0.02
CHECK_BY_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    answers = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # while there are no ranks to tell
    # DeepSpeed decides when it is imported; by NVML, since asking CUDA would spoil all forks
    os.environ[CHECK_BY_NVML] = "1"
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    for module in sys.argv[1:]:
        _import(module)
    for line in sys.stdin:
        deaths = _serve(Request(**json.loads(line)), answers)
        os.write(answers, json.dumps(deaths).encode() + b"\n")
    os._exit(0)


def _import(module: str) -> None:
    """Import it, so that ranks need not; what fails, fails in them again, and is told there."""
    gc.disable()  # a quarter of the time of importing
    with suppress(BaseException):
        importlib.import_module(module)
    gc.freeze()  # a collection in a rank would copy all these pages
    gc.enable()


def _serve(request: Request, answers: int) -> list[Death]:
    ranks = _Ranks()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.signal(signal.SIGTERM, ranks.stop)
    _be_of(request)
    _end_if_alone()
    alive, held = os.pipe()  # the ranks' stdin, which ends with this process
    with socket.socket() as meeting:
        meeting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if request.first_rank == 0:
            meeting.bind(tuple(request.meeting))
        parent = os.getpid()
        for rank in range(request.ranks):
            pid = os.fork()
            if pid == 0:
                os.close(answers)
                os.close(held)
                os.dup2(alive, 0)
                _die_with(parent)
                _become(rank, request, meeting)
            ranks.running[pid] = request.first_rank + rank
    os.close(alive)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    ranks.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.close(held)
    return ranks.deaths


def _be_of(request: Request) -> None:
    """Take on what its ranks inherit: environment, folder, output, modules."""
    os.chdir(request.folder)
    os.umask(request.umask)
    log = os.open(request.log, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    caches = os.environ["HF_HOME"]
    os.environ.update(request.environment)
    for module in ("deepspeed", "torch._dynamo", request.module):  # AdamW wants the second
        _import(module)
    for loaded in list(sys.modules.values()):  # where libraries noted it as they were imported
        for name, value in list(getattr(loaded, "__dict__", {}).items()):
            if isinstance(value, str) and value.startswith(caches):
                setattr(loaded, name, os.environ["HF_HOME"] + value.removeprefix(caches))


def _end_if_alone(seconds: float = 0) -> None:
    """Wait so long, but end at once where the process that we serve has died: stdin has ended."""
    if select.select([0], [], [], seconds)[0]:
        os._exit(1)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when that one dies, even if it is stopped, or hangs in a
    call that lets no thread see the end of stdin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _become(rank: int, request: Request, meeting: socket.socket) -> NoReturn:
    """Be that rank, in a process that was just forked, to the end."""
    try:
        os.setpgid(0, 0)  # what a rank starts, a compiler say, is killed with it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        del os.environ[CHECK_BY_NVML]
        host, port = request.meeting if request.first_rank else meeting.getsockname()
        os.environ.update(RANK=str(request.first_rank + rank), LOCAL_RANK=str(rank))
        os.environ["WORLD_SIZE"] = str(request.world)
        os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
        os.environ[SOCKET] = str(meeting.fileno())
        if torch.cuda._is_in_bad_fork():  # an import asked CUDA after all: start from nothing
            meeting.set_inheritable(True)
            os.execv(sys.executable, [sys.executable, "-m", request.module, request.job])
        run_module(request.module, Path(request.job))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


@dataclass
class _Ranks:
    """The ranks of one request."""

    running: dict[int, int] = field(default_factory=dict)  # process id -> rank
    deaths: list[Death] = field(default_factory=list)
    deadline: float = math.inf  # when those that were told to stop are killed

    def wait(self) -> None:
        """Until all have ended; where one has failed, the others are told to stop."""
        while self.running:
            _end_if_alone(POLL_SECONDS)
            while self.running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                self.deaths.append((self.running.pop(ended[0]), code))
                if code:
                    self.stop()
                if code not in (0, PREEMPTED):
                    self.deadline = min(self.deadline, time.monotonic() + ALONE_SECONDS)
            if time.monotonic() > self.deadline:
                self._signal(os.killpg, signal.SIGKILL)

    def stop(self, *_: object) -> None:
        """Tell them, once, to save and leave."""
        if self.deadline == math.inf:
            self.deadline = time.monotonic() + SAVE_SECONDS
            self._signal(os.kill, signal.SIGTERM)

    def _signal(self, send: Callable[[int, int], None], number: int) -> None:
        for pid in self.running:
            with suppress(ProcessLookupError):
                send(pid, number)


if __name__ == "__main__":
    main()
