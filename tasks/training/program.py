"""How a training program begins and ends: its rank among the others, its signals, its errors.

    def main(job: Job, world: World) -> None: ...

    if __name__ == "__main__":
        run(Job, main)

Works under `tasks.launch.launch`, where ranks are forked from a process that has imported the
module (`tasks.training.ranks`), under torchrun by hand, and as a single plain process.
"""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import json
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import psutil
import torch

from tasks.config import Config
from tasks.dumps import forbid_core_dumps
from tasks.errors import ClinfuseError, ConfigError, TrainingError
from tasks.failures import ERROR, LOGS, PREEMPTED
from tasks.guard import fixed_message, place_of, refusal_of
from tasks.launch import PARENT, lock
from tasks.pulse import Pulse
from tasks.training_progress import PROGRESS, Progress

Job = TypeVar("Job", bound=Config)

COLLECTIVE_MINUTES = 60  # how long ranks wait for one another, e.g. for rank 0 to load a model
MEETING_MINUTES = 10  # ... and for one another to be there
NOTE_BYTES = 4096  # of a rank's note, padded with blanks
SOCKET = "CLINFUSE_SOCKET"  # set: the file descriptor on which the first rank awaits the others


# a rank that is started by hand, as one process: what torchrun would tell it, and any free port
ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
ALONE |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


class Preempted(BaseException):
    """The program was told to stop and saved what it needs to go on; no error to be handled."""


@dataclass
class World:
    """This rank among the ranks of a training program."""

    rank: int
    size: int
    local_rank: int
    work: Path  # a folder that all ranks share: checkpoints, logs, progress
    device: torch.device
    told_to_stop: bool = False
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and reports."""
        return self.rank == 0

    def report(self, progress: Progress) -> None:
        """Tell the launcher, or whoever watches by hand, how far the first rank has come."""
        if not self.first:
            return
        with (self.work / PROGRESS).open("a") as file:
            file.write(json.dumps(asdict(progress)) + "\n")
        print(f"{progress.step}/{progress.total} {progress.words}", flush=True)

    def sum(self, *values: float) -> list[float]:
        """The sums of these numbers over all ranks; every rank must call it."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            torch.distributed.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any]:
        """What each rank gave, in the order of ranks, on every rank; every rank must call it."""
        values = [value] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until every rank is here."""
        self.sum(0.0)


def run_module(module: str, path: Path) -> NoReturn:
    """Run the program that is this module, whose `main` says what its job is."""
    main = importlib.import_module(module).main
    run(get_type_hints(main)["job"], main, path)


def run(
    job_type: type[Job], main: Callable[[Job, World], None], path: Path | None = None
) -> NoReturn:
    """Read the job from the file that the command line names, join the ranks, call main, exit.

    Exit codes: 0 done; PREEMPTED told to stop, and saved; 1 an error, which the launcher finds in
    work/error.json: a ClinfuseError whole, of any other its type and place, since its message may
    quote a note (the rank's own log has it; `tasks/guard.py` says what else may be told).
    """
    forbid_core_dumps()
    path = (path or Path(sys.argv[1])).resolve()
    os.environ |= ALONE | os.environ
    rank, size, local_rank = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    )
    world = World(rank, size, local_rank, path.parent, torch.device("cpu"))
    if os.environ.get(PARENT):
        _keep_log(world)
        threading.Thread(target=_end_with_launcher, daemon=True).start()
        world.pulse = Pulse.of_rank(world.work, world.rank)
    try:
        _held = lock(world.work, fcntl.LOCK_SH)  # a later launch waits until no rank holds it
        _note_of(world).write_bytes(b" " * NOTE_BYTES)
        job = job_type.model_validate_json(path.read_text())
        _join(world)
        # until here there is nothing to save, and a rank that awaits the others would not listen
        signal.signal(signal.SIGTERM, lambda *_: setattr(world, "told_to_stop", True))
        main(job, world)
        torch.distributed.destroy_process_group()
    except Preempted:
        _exit(PREEMPTED, world)
    except BaseException as error:
        traceback.print_exc()
        _tell(world, error)
        _exit(1, world)
    _exit(0, world)


def _join(world: World) -> None:
    """Choose the device and meet the other ranks."""
    on_gpu = os.environ.get("DS_ACCELERATOR", "") != "cpu" and torch.cuda.is_available()
    if not on_gpu:
        if os.environ.get("DS_ACCELERATOR") == "cuda":
            raise ConfigError("launch.accelerator is cuda, but there is no GPU; set it to auto")
        os.environ["DS_ACCELERATOR"] = "cpu"  # before deepspeed is imported
    else:
        if world.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"launch.ranks is above the {torch.cuda.device_count()} GPUs of this machine; "
                "lower it to one rank a GPU"
            )
        torch.cuda.set_device(world.local_rank)
        world.device = torch.device("cuda", world.local_rank)
    _use_the_network_of(os.environ["MASTER_ADDR"])
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=_meeting(world),
        rank=world.rank,
        world_size=world.size,
        timeout=timedelta(minutes=COLLECTIVE_MINUTES),
    )


def _use_the_network_of(host: str) -> None:
    """Have gloo listen where the first rank's machine is reached from.

    It would listen on the address of this machine's own name, which in many an /etc/hosts is a
    loopback address, where no other machine finds it.
    """
    (family, *_, address), *_ = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing: the kernel chooses a route
        ours = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.address.partition("%")[0] == ours for known in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _meeting(world: World) -> Any:
    """Where the ranks meet; None: where the environment says, by hand and under torchrun.

    The first listens on the socket that the launcher bound: nobody else can have taken its port.
    Not before it is here, since whoever connects to it earlier waits without end.
    """
    if SOCKET not in os.environ:
        return None
    listening = None
    if world.first:
        listening = int(os.environ[SOCKET])
        socket.socket(fileno=os.dup(listening)).listen()
    return torch.distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world.size,
        world.first,
        timedelta(minutes=MEETING_MINUTES),
        master_listen_fd=listening,
    )


def _exit(code: int, world: World) -> NoReturn:
    """Leave at once: interpreter shutdown takes a second and may hang on a dead partner."""
    world.pulse.end()
    with suppress(OSError):
        _note_of(world).unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _keep_log(world: World) -> None:
    """All that this rank prints goes to its own file, libraries' lines too."""
    folder = world.work / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"rank-{world.rank}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.enable()


def _end_with_launcher() -> None:
    """End at once when the launcher dies, by the end of the pipe that is our stdin.

    Without saving: the next run may already be waiting for the folder.
    """
    while os.read(0, 1):
        pass
    os._exit(1)


def _tell(world: World, error: BaseException) -> None:
    """Leave a note for the launcher; the first rank to do so is heard."""
    note: dict[str, Any] = {"rank": world.rank}
    error = _waited_in_vain(world, error) or refusal_of(f"rank {world.rank}", error) or error
    if isinstance(error, ClinfuseError):
        note |= {"error": type(error).__name__, "message": str(error)}
    else:
        cause = fixed_message(error) or ""
        note |= {"exception": type(error).__name__, "place": place_of(error), "cause": cause}
    own = _note_of(world)
    with own.open("r+b" if own.exists() else "wb") as file:  # in place: the disk may be full
        file.write(json.dumps(note).encode().ljust(NOTE_BYTES))
    try:
        os.link(own, world.work / ERROR)
    except OSError:
        if isinstance(error, ClinfuseError):  # a clear sentence is worth more than a type
            own.replace(world.work / ERROR)
    own.unlink(missing_ok=True)


def _note_of(world: World) -> Path:
    """The rank's own note, whose space is taken before there is anything to say."""
    return world.work / f"{ERROR}.{world.rank}"


def _waited_in_vain(world: World, error: BaseException) -> TrainingError | None:
    """What to say where a time limit of torch's ended a wait for other ranks; else None."""
    if not isinstance(error, RuntimeError) or not re.search("time[d -]*out", str(error), re.I):
        return None
    return TrainingError(
        f"rank {world.rank} waited in vain for the other ranks, at {place_of(error)}; "
        f"what they did is in {world.work / LOGS}"
    )
