"""One small run of the whole chain, by the command, against a real Prefect server on SQLite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.store import Store
from tests.flows.fence import Fence
from tests.flows.planted import plant

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "flows" / "tiny.yaml"
BIN = Path(sys.executable).parent
# what the tests set for their own process, and a user of the command need not
QUIET = ("DO_NOT_TRACK", "HF_HUB_OFFLINE", "PREFECT_SERVER_ANALYTICS_ENABLED")
POSTGRESQL = bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


@dataclass(frozen=True)
class World:
    """A source, a config, a store and a server that several tests look at."""

    folder: Path
    source: Path
    config: Path
    store: Store
    environment: dict[str, str]
    database: Path
    fence: Fence

    def clinfuse(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "clinfuse"), *arguments]
        done = subprocess.run(
            command,
            env={name: value for name, value in self.environment.items() if name not in QUIET},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=580,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a real Prefect server on SQLite, as a user would start it.

    The server and its clients are behind a fence, and have a folder for temporary files.
    """
    home = tmp_path_factory.mktemp("prefect")
    (home / "tmp").mkdir()
    fenced = Fence(home / "fence").around({**os.environ, "TMPDIR": str(home / "tmp")})
    with serving(home, fenced) as (environment, _):
        yield environment


@contextmanager
def serving(
    home: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[dict[str, str], subprocess.Popen[bytes]]]:
    """A Prefect server with its own home: what its clients need in their environment, and it."""
    home.mkdir(exist_ok=True)
    port = free_port()
    environment = {
        **environment,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }
    log = (home / "server.log").open("w")
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        _wait_until_healthy(environment["PREFECT_API_URL"], process)
        yield environment, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


@pytest.fixture(scope="session")
def world(server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Synthetic patients with planted words, and the chain run over them once."""
    folder = tmp_path_factory.mktemp("world")
    found = World(
        folder=folder,
        source=folder / "synth" / "mimic",
        config=folder / "tiny.yaml",
        store=Store(folder / "store"),
        environment={**server, "CLINFUSE_STORE": str(folder / "store")},
        database=Path(server["PREFECT_HOME"]) / "prefect.db",
        fence=Fence(Path(server["PREFECT_HOME"]) / "fence"),
    )
    found.clinfuse("synth", str(folder / "synth"), "--patients", "500", "--seed", "11")
    plant(found.source)
    config = yaml.safe_load(TINY.read_text())
    config["ingest"]["source"] = str(found.source)
    config["evaluate"]["truth"] = str(folder / "synth" / "truth.parquet")
    config["pretrain"]["base"]["corpus"] = str(folder / "synth" / "general.txt")
    found.config.write_text(yaml.safe_dump(config))
    done = found.clinfuse("run", str(found.config))
    (folder / "first-run.out").write_text(done.stdout)
    (folder / "first-run.err").write_text(done.stderr)
    return found


@contextmanager
def on_the_server(world: World, store: Store | None = None) -> Iterator[None]:
    """Flows that are called in this process run on the world's server, over its store or another.

    At the end the server has been told all.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    settings = {
        PREFECT_API_URL: world.environment["PREFECT_API_URL"],
        PREFECT_HOME: world.environment["PREFECT_HOME"],
        PREFECT_LOCAL_STORAGE_PATH: str((store or world.store).root),
    }
    with temporary_settings(settings):
        _tell_the_server()  # what is left for another server; for this one, it connects anew
        try:
            yield
        finally:
            _tell_the_server()


def _tell_the_server() -> None:
    """Send what Prefect's threads in this process have not yet sent, and end them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(at_exit=False)


def prefect(world: World, *arguments: str) -> str:
    done = subprocess.run(
        [str(BIN / "prefect"), "--no-prompt", *arguments],
        cwd=ROOT,
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def api(
    world: World, path: str, body: dict[str, Any] | None = None, method: str | None = None
) -> Any:
    """Ask the server as its UI does; what it answers, if anything."""
    request = urllib.request.Request(
        f"{world.environment['PREFECT_API_URL']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    for wait in (1, 2, 4, 8, 0):  # SQLite under load: the server asks to be asked again
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or not wait:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


def deployment_of(world: World, flow: str) -> dict[str, Any]:
    """The deployment of the flow of that name."""
    [flow_id] = [each["id"] for each in api(world, "/flows/filter", {}) if each["name"] == flow]
    found = api(world, "/deployments/filter", {})
    return next(each for each in found if each["flow_id"] == flow_id)


def started(world: World, flow: str, **parameters: Any) -> str:
    """Start a deployment's run as the UI would; its id."""
    path = f"/deployments/{deployment_of(world, flow)['id']}/create_flow_run"
    return api(world, path, {"parameters": parameters})["id"]


def run_of(world: World, run: str) -> dict[str, Any]:
    """What the server knows of the run of that id."""
    return api(world, f"/flow_runs/{run}")


def ended(world: World, run: str) -> dict[str, Any]:
    """The run of that id, once it has come to an end of any kind."""
    for _ in range(1000):
        found = run_of(world, run)
        if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return found
        time.sleep(0.5)
    raise AssertionError(f"{run} did not end: {found['state_name']}")


@dataclass(frozen=True)
class Served(World):
    """A world behind what `make server` starts."""

    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="session")
def deployed(world: World) -> Iterator[Served]:
    """What `make server` starts, over the world's store; on SQLite where PostgreSQL is missing."""
    # not in pytest's folder, through which PostgreSQL's user could not pass where we are root
    folder = Path(tempfile.mkdtemp(prefix="clinfuse-server-", dir="/tmp"))
    folder.chmod(0o711)
    port, log = str(free_port()), folder / "log"
    options = ["--store", str(world.store.root), "--folder", str(folder), "--port", port]
    options += ["--gpus", "2"] if POSTGRESQL else ["--gpus", "2", "--sqlite"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "infra/server.py", *options],
            cwd=ROOT, env=world.environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for_line("export PREFECT_API_URL", log, process)
        there = {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
        }
        environment = {**world.environment, **there}
        yield Served(**{**vars(world), "environment": environment}, process=process, log=log)
    finally:
        process.terminate()
        process.wait(120)
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def copied_store(world: World, tmp_path: Path) -> Store:
    """The store of the run, to be damaged at will."""
    shutil.copytree(world.store.root, tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store")


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None, "the Prefect server stopped while starting"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not become healthy in ten minutes")


def _wait_for_line(start: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if any(line.startswith(start) for line in log.read_text().splitlines()):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.5)
    raise AssertionError(log.read_text())
