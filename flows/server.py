"""The Prefect API that a run from the terminal reports to: the one that is set, or a temporary one.

The temporary server is Prefect's own, on its usual database. We start it ourselves, rather than
leave that to Prefect, for the sake of its end: it is out of reach of the signals that stop a run
(Ctrl-C, `timeout`, systemd, Slurm), so that the run can still say how it ended; it is stopped when
all that happened has been written down; and it dies with us, also by `kill -9`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.errors import PrefectError

START_SECONDS = 300.0  # a loaded machine took more than Prefect's 20
STOP_SECONDS = 10.0
RECORD_SECONDS = 10.0  # for the states of the last tasks to reach the database
LAST_STATES = 100
POLL_SECONDS = 0.1
ANSWER_SECONDS = 10.0


@contextmanager
def prefect_api() -> Iterator[None]:
    """Within it, flows report to the API of Prefect's settings, or to a temporary server.

    Raises PrefectError where the API does not answer or the server does not start.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    check_home(settings.home)
    if settings.api.url:
        check_answers(settings.api.url)
        yield
        return
    with _temporary_server(settings.home) as url:
        os.environ["PREFECT_API_URL"] = url
        _read_settings_again()
        try:
            yield
        finally:
            _wait_until_recorded()
            del os.environ["PREFECT_API_URL"]
            _read_settings_again()


@contextmanager
def _temporary_server(home: Path) -> Iterator[str]:
    """A server on a free port of this machine; its API's address."""
    with socket.socket() as listener, tempfile.TemporaryFile() as log:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with _one_at_a_time(home):  # two that make the database at once get in each other's way
            process = _start(listener, log)
            try:
                _wait_until_healthy(f"http://127.0.0.1:{port}/api/health", process, log)
            except BaseException:
                process.kill()
                raise
    try:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        _stop(process)


def _start(listener: socket.socket, log: IO[bytes]) -> subprocess.Popen[bytes]:
    quiet = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flows.server", str(listener.fileno())],
        env={"PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL", **os.environ, **quiet},
        pass_fds=[listener.fileno()],
        stdin=subprocess.PIPE,  # ends when we die, and the server with it
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches us alone
    )


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (code := process.poll()) is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_SECONDS)
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
    how = f"ended with exit code {code}" if code is not None else f"took over {START_SECONDS:.0f} s"
    raise PrefectError(
        f"Prefect's temporary server did not start: it {how} ({lines[-1].strip()}); start one "
        "with `prefect server start` and set PREFECT_API_URL, or correct what it says"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, by the end of its input, and see to it that it does."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    with (home / ".clinfuse-server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_home(home: Path) -> None:
    """Raise PrefectError where Prefect's folder cannot be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise PrefectError(
            f"Prefect's folder {home} cannot be written ({error.strerror}); set PREFECT_HOME to "
            "one that can"
        ) from None


def check_answers(url: str) -> None:
    """Ask the API whether it is there, with the key or password of Prefect's settings.

    Raises PrefectError where it does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        try:
            with get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as client:
                failure = client.api_healthcheck()
        except Exception as error:  # of whatever library; the sentence says which
            failure = error
    if failure is not None:
        raise PrefectError(
            f"the Prefect API at {url} does not answer ({type(failure).__name__}); start it with "
            "`prefect server start`, correct PREFECT_API_URL, or unset it (`prefect config unset "
            "PREFECT_API_URL`) to run with a temporary server"
        )


def _read_settings_again() -> None:
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()


def _wait_until_recorded() -> None:
    """Until the server has written down the last states and log lines, or has had its time."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    def drain() -> None:
        try:
            EventsWorker.drain_all()
            APILogWorker.drain_all()
            _wait_for_last_states()
        except Exception:  # a history of the run that lacks its last line is no reason to fail it
            return

    worker = threading.Thread(target=drain, daemon=True)
    worker.start()
    worker.join(RECORD_SECONDS)


def _wait_for_last_states() -> None:
    """Task states reach the database by way of events, some time after the flow's own."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        TaskRunFilter,
        TaskRunFilterId,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import TERMINAL_STATES

    from tasks.flow_run import task_runs

    ours = list(task_runs)[-LAST_STATES:]
    ended = TaskRunFilter(
        id=TaskRunFilterId(any_=ours),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=list(TERMINAL_STATES))),
    )
    deadline = time.monotonic() + RECORD_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            with suppress(Exception):  # its database is locked for a moment, say
                ended_runs = client.read_task_runs(task_run_filter=ended, limit=LAST_STATES)
                if len(ended_runs) == len(ours):
                    return
            time.sleep(POLL_SECONDS)


def main() -> None:
    """Serve on the socket that our parent opened, until it closes our input or dies."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # sent to all of a control group
        signal.signal(number, signal.SIG_IGN)
    import uvicorn
    from prefect.server.api.server import create_app

    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(create_app, factory=True, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)

    def serve() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            os._exit(0 if server.started else 1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    while os.read(0, 1):
        pass
    server.should_exit = True
    thread.join(STOP_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
