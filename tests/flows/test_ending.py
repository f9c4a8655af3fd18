"""How a run from the terminal begins and ends: its server, its signals, its one sentence."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import BIN, ROOT, World, serving

pytestmark = pytest.mark.slow

LONG = (
    *("--set", "launch.ranks=2"),
    *("--set", "pretrain.epochs=500"),
    *("--set", "pretrain.max_tokens=null"),
)
SECONDS = 30  # whoever tells a run to stop kills it after that


@pytest.fixture
def alone(world: World, tmp_path: Path) -> dict[str, str]:
    """An environment without a server: the run starts its own."""
    kept = {key: value for key, value in world.environment.items() if "PREFECT" not in key}
    return {**kept, "PREFECT_HOME": str(tmp_path / "home")}


class Running:
    """A run in a process group of its own, as a shell, `timeout` or Slurm starts it."""

    def __init__(self, world: World, environment: dict[str, str], log: Path, *more: str) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(BIN / "clinfuse"), "run", str(world.config), *more],
                env=environment, cwd=ROOT, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self.tree: list[psutil.Process] = []

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def wait_for_training(self) -> None:
        deadline = time.monotonic() + 240
        while not re.search(r"clinical-adapter: [\d,]+/[\d,]+ clinical", self.printed):
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.1)
        self.tree = psutil.Process(self.process.pid).children(recursive=True)

    def left(self) -> list[psutil.Process]:
        """What runs on; a process may take a moment to notice that its parent is gone."""
        return psutil.wait_procs(self.tree, timeout=15)[1]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever the test found: what runs on would keep the next one from its artifact."""
        for process in [self.process, *self.tree]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait()


@pytest.fixture
def training(world: World, alone: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    """A run under a server of its own, in the middle of a training."""
    with Running(world, alone, tmp_path / "log", *LONG) as running:
        running.wait_for_training()
        assert len(running.tree) >= 4  # the server, torchrun, two ranks
        yield running


@pytest.mark.parametrize(
    ("number", "group", "code", "told"),
    [
        (signal.SIGINT, False, 130, "stopped by Ctrl-C"),
        (signal.SIGTERM, True, 143, "stopped by SIGTERM"),
    ],
    ids=["Ctrl-C", "SIGTERM to the group"],
)
def test_a_run_that_is_told_to_stop_ends_soon_in_one_sentence(
    training: Running, number: int, group: bool, code: int, told: str
) -> None:
    (os.killpg if group else os.kill)(training.process.pid, number)
    assert training.process.wait(SECONDS) == code
    assert told in training.printed.splitlines()[-1]
    assert "run the same command again" in training.printed
    assert "Traceback" not in training.printed
    assert training.left() == []


def test_a_control_group_is_told_to_stop_as_a_whole(training: Running) -> None:
    """systemd and Slurm signal every process, whatever its session: also the server and ranks."""
    for process in [psutil.Process(training.process.pid), *training.tree]:
        process.send_signal(signal.SIGTERM)
    assert training.process.wait(SECONDS) == 143
    assert "Traceback" not in training.printed
    assert training.left() == []
    with sqlite3.connect(training.log.parent / "home" / "prefect.db") as database:
        states = database.execute("select state_type from flow_run").fetchall()
    assert states == [("CRASHED",)]  # the server outlived the signal, and was told


def test_a_killed_run_leaves_neither_server_nor_ranks(training: Running) -> None:
    training.process.kill()
    training.process.wait()
    assert training.left() == []


def test_a_run_whose_api_dies_with_it_ends_all_the_same(world: World, tmp_path: Path) -> None:
    """Prefect goes on asking an API that is gone for minutes."""
    with serving(tmp_path / "home") as (environment, server):
        environment |= {"CLINFUSE_STORE": str(world.store.root)}
        with Running(world, environment, tmp_path / "log", *LONG) as running:
            running.wait_for_training()
            server.kill()
            os.killpg(running.process.pid, signal.SIGTERM)
            assert running.process.wait(SECONDS + 5) == 143
            assert "clinfuse:" in running.printed.splitlines()[-1]
            assert running.left() == []


def test_cached_runs_print_no_traceback_and_every_state_is_recorded(
    world: World, alone: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(3):
        done = subprocess.run(
            [str(BIN / "clinfuse"), "run", str(world.config)],
            env=alone, cwd=ROOT, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert "made by" in done.stderr  # each reused artifact says by which run
    with sqlite3.connect(tmp_path / "home" / "prefect.db") as database:
        steps = database.execute("select state_name, count(*) from task_run group by 1").fetchall()
        flows = database.execute("select state_name from flow_run").fetchall()
    assert {name for name, _ in steps} == {"Cached"}
    assert sum(count for _, count in steps) % 3 == 0
    assert flows == [("Completed",)] * 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "does not answer"),
        ({"PREFECT_API_URL": "http://no-such-host.invalid/api"}, "does not answer"),
        ({"PREFECT_HOME": "/dev/null/home"}, "cannot be written"),
        (
            {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////no/such/folder/x.db"},
            "server did not start",
        ),
    ],
    ids=["refused", "no such host", "home", "database"],
)
def test_a_prefect_that_cannot_be_had_is_one_sentence(
    world: World, alone: dict[str, str], settings: dict[str, str], told: str
) -> None:
    unfenced = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # asking for a host is no offence
    done = subprocess.run(
        [str(BIN / "clinfuse"), "run", str(world.config)],
        env={**alone, **settings, **unfenced},
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
