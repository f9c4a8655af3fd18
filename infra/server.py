"""`make server`: PostgreSQL, a Prefect server and its workers, with all that infra/install.py
installs. What dies is started again; Ctrl-C ends everything. The database stays, for the next time.

    python infra/server.py --store /data/clinfuse/store --folder build/server --gpus 2
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated

import psutil
import typer

from tasks.errors import ClinfuseError, PrefectError

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
POOLS = ("clinfuse-cpu", "clinfuse-gpu")
START_SECONDS = 300.0
STOP_SECONDS = 35.0  # ranks have 25 s to save
POLL_SECONDS = 0.2
RESTART_SECONDS = 2.0  # between two starts of what dies again and again
PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """A process that is started again when it dies; its output goes to a file."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    user: str | None = None  # not ours
    stop_signal: signal.Signals = signal.SIGTERM
    started: float = 0.0
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT if self.user is None else "/",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,  # Ctrl-C reaches us alone
                preexec_fn=lambda: _in_child(self.stop_signal),
            )
        self.started = time.monotonic()

    def start_again_if_dead(self) -> None:
        if (code := self.process.poll()) is None:
            return
        self._end_children()
        time.sleep(max(0.0, self.started + RESTART_SECONDS - time.monotonic()))
        typer.echo(f"{self.name} ended with exit code {code} and is started again; see {self.log}")
        self.start()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                how = f"ended with exit code {code}" if code is not None else "does not answer"
                lines = self.log.read_text(errors="replace").strip().splitlines() or ["nothing"]
                raise PrefectError(f"{self.name} {how} ({lines[-1].strip()}); see {self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Tell it to end, with the runs that it has started, and see to it that all do."""
        family = [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        for process in family[:1]:
            family += process.children(recursive=True)
        self._tell(family)
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def _tell(self, family: list[psutil.Process]) -> None:
        for process in family[:1]:
            process.send_signal(self.stop_signal)

    def _end_children(self) -> None:
        with suppress(ProcessLookupError):  # of the same session
            os.killpg(self.process.pid, signal.SIGKILL)


class Worker(Service):
    """A worker, whose runs are told to end before it is: so they can still say how they ended."""

    def _tell(self, family: list[psutil.Process]) -> None:
        runs = [process for process in family[1:] if process.ppid() == self.process.pid]
        for run in runs:
            with suppress(psutil.NoSuchProcess):
                run.terminate()
        psutil.wait_procs(runs, timeout=STOP_SECONDS)
        super()._tell(family)

    def _end_children(self) -> None:
        """Runs go on without their worker."""


def serve(
    store: Annotated[Path, typer.Option(help="Where the runs leave their artifacts.")] = Path(
        "build/store"
    ),
    folder: Annotated[Path, typer.Option(help="For the database and the logs.")] = Path(
        "build/server"
    ),
    port: Annotated[int, typer.Option(help="Of http://127.0.0.1.", min=1, max=65535)] = 4200,
    gpus: Annotated[
        int | None, typer.Option(help="How many GPUs all runs may hold; the machine's.", min=1)
    ] = None,
    notify: Annotated[
        str | None, typer.Option(metavar="KIND/NAME", help="As of infra/install.py.")
    ] = None,
    sqlite: Annotated[
        bool, typer.Option("--sqlite", help="Prefect's own small database, for a try.")
    ] = False,
) -> None:
    """Serve until Ctrl-C."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    services: list[Service] = []
    sockets = None if sqlite else _folder_of_sockets()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        environment = _environment(folder, store.resolve(), port)
        _check_port(port)
        if sockets:
            services.append(_postgres(folder, sockets))
            services[-1].start()
            services[-1].wait_until((sockets / ".s.PGSQL.5432").exists)
            url = f"postgresql+asyncpg://clinfuse@/postgres?host={sockets}"
            environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        services.append(_prefect_server(environment, folder, port))
        services[-1].start()
        services[-1].wait_until(lambda: _answers(environment["PREFECT_API_URL"]))
        options = [] if gpus is None else ["--gpus", str(gpus)]
        options += [] if notify is None else ["--notify", notify]
        _install(environment, folder / "install.log", options)
        for pool in POOLS:
            services.append(_worker(environment, folder, pool))
            services[-1].start()
        typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends the server, its workers and their runs)")
        typer.echo(f"export PREFECT_API_URL=http://127.0.0.1:{port}/api")
        while True:
            for service in services:
                service.start_again_if_dead()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        typer.echo("stopping")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        workers = [service for service in services if isinstance(service, Worker)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(Service.stop, workers))
        for service in reversed(services[: len(services) - len(workers)]):
            service.stop()
        if sockets:
            shutil.rmtree(sockets, ignore_errors=True)


def _environment(folder: Path, store: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # who holds a slot outlives the server
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        "DO_NOT_TRACK": "1",
        "CLINFUSE_STORE": str(store),
    }


def _check_port(port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise PrefectError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); end what listens "
                "there, or name another: make server PORT=4201"
            ) from None


def _folder_of_sockets() -> Path:
    """A new folder that PostgreSQL's user can reach, of a path of 107 bytes at most."""
    return Path(tempfile.mkdtemp(prefix="clinfuse-", dir="/tmp"))  # not TMPDIR, which may be ours


def _postgres(folder: Path, sockets: Path) -> Service:
    """PostgreSQL, its database made; its socket is in a folder that only its user can enter.

    So it has no port and no password.
    """
    programs = _programs()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    data = folder / "postgresql"
    data.mkdir(mode=0o700, exist_ok=True)
    if user:
        _give_to(user, data, sockets)
    log = folder / "postgresql.log"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    if not (data / "PG_VERSION").exists():
        made = subprocess.run(
            [programs / "initdb", "--pgdata", data, "--auth", "trust", "--username", "clinfuse"],
            user=user, env=environment, cwd="/", capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode:
            raise PrefectError(
                f"PostgreSQL cannot make its database in {data} "
                f"({made.stderr.strip().splitlines()[-1]}); name a folder that "
                f"{user or 'you'} can reach: make server FOLDER=..., or SQLITE=1"
            )
    settings = {"listen_addresses": "", "unix_socket_directories": str(sockets)}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return Service(
        "PostgreSQL",
        [str(programs / "postgres"), "-D", str(data), *options],
        environment,
        log,
        user=user,
        stop_signal=signal.SIGINT,  # not waiting for clients
    )


def _programs() -> Path:
    """The folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else []
    found += sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4])
    )
    if not found:
        raise PrefectError(
            "PostgreSQL is not installed; on Debian or Ubuntu `apt-get install postgresql`, or "
            "try without: make server SQLITE=1"
        )
    return found[-1].parent


def _give_to(user: str, *folders: Path) -> None:
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        raise PrefectError(
            f"PostgreSQL does not run as root, and there is no user '{user}'; run `make server` as "
            "another user, or with SQLITE=1"
        ) from None
    for folder in folders:
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def _prefect_server(environment: dict[str, str], folder: Path, port: int) -> Service:
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    return Service("the Prefect server", command, environment, folder / "server.log")


def _worker(environment: dict[str, str], folder: Path, pool: str) -> Service:
    command = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--name", pool]
    return Worker(f"the worker of {pool}", command, environment, folder / f"{pool}.log")


def _answers(api: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=2):
        return True
    return False


def _install(environment: dict[str, str], log: Path, options: list[str]) -> None:
    command = [sys.executable, str(ROOT / "infra" / "install.py"), *options]
    with log.open("wb") as file:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    if done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
        raise PrefectError(f"pools and deployments were not installed ({lines[-1]}); see {log}")


def _in_child(number: int) -> None:
    """`kill -9` of us ends it, too; and it hears SIGINT, which a shell's background jobs ignore."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    try:
        typer.run(serve)
    except ClinfuseError as error:
        sys.exit(f"clinfuse: {error}")


if __name__ == "__main__":
    main()
