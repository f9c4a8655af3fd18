"""The warm process: ranks begin clean, and its own death or a rank's spoils no later launch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks import warm
from tasks.errors import RanksDied, TrainingError
from tasks.launch import LaunchConfig, Progress, launch, prepare
from tasks.training.program import SOCKET
from tests.launch.facts import FactsJob
from tests.launch.test_launch import ONE, ROOT, TOY, TWO, job, ranks_of, wait_until

FACTS = "tests.launch.facts"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cold() -> Iterator[None]:
    """A test begins and ends without a warm process."""
    warm.let_go()
    yield
    warm.let_go()


def facts(work: Path, rank: int = 0) -> dict[str, Any]:
    return json.loads((work / f"facts-{rank}.json").read_text())


def idle() -> psutil.Process:
    [kept] = warm._idle
    return psutil.Process(kept.process.pid)


def test_every_rank_is_a_new_fork_with_what_its_launch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    config = LaunchConfig(ranks=2, threads_per_rank=2)
    for name, folder in (("first", ROOT), ("second", tmp_path / "elsewhere")):
        monkeypatch.chdir(folder)
        work = tmp_path / name
        launch(FACTS, FactsJob(), work, config)
        for rank in (0, 1):
            fact = facts(work, rank)
            assert fact["forked"]
            assert fact["parent"] == idle().pid
            assert fact["launches_before"] == 0
            assert fact["threads"] == 2
            assert not fact["cuda"]
            assert (fact["sum"], fact["numpy"]) == (3000, 500)
            assert fact["cache"] == str(work / "cache" / "hub")
            assert fact["modules"] == str(work / "cache" / "modules")
            assert fact["operators"] == str(work / "operators")
            assert fact["folder"] == str(folder)
            assert fact["umask"] == os.umask(fact["umask"])
    assert facts(tmp_path / "first")["parent"] == facts(tmp_path / "second")["parent"]


def test_what_failed_does_not_spoil_the_next_launch(tmp_path: Path) -> None:
    launch(TOY, job(steps=2), tmp_path / "warm", TWO)
    process = idle()
    for name, module, trouble in (
        ("killed", TOY, {"at_step": 1, "kill_rank": 1}),
        ("bug", TOY, {"at_step": 0, "failure": "bug"}),
        ("nowhere", "tests.training.nowhere", {}),
    ):
        with pytest.raises(TrainingError):
            launch(module, job(**trouble), tmp_path / name, TWO)
    launch(TOY, job(steps=2), tmp_path / "after", TWO)
    assert idle() == process
    assert not process.children()


def test_the_death_of_the_warm_process_is_said_and_the_next_launch_starts_one(
    tmp_path: Path,
) -> None:
    ranks: list[psutil.Process] = []

    def kill(progress: Progress) -> None:
        if not ranks:
            ranks.extend(ranks_of(tmp_path))
            [parent] = {rank.ppid() for rank in ranks}
            os.kill(parent, signal.SIGKILL)

    with pytest.raises(RanksDied, match=r"ended by SIGKILL.*launcher\.log.*run again to resume"):
        launch(TOY, job(steps=1000, slow_seconds=0.1), tmp_path, TWO, on_progress=kill)
    assert len(ranks) == 2
    assert psutil.wait_procs(ranks, timeout=5)[1] == []
    launch(TOY, job(steps=2), tmp_path, TWO)
    process = idle()
    process.kill()
    assert wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, 5)
    launch(TOY, job(steps=2), tmp_path, TWO)


def test_two_launches_at_once_have_ranks_of_their_own(tmp_path: Path) -> None:
    works = [tmp_path / "first", tmp_path / "second"]
    errors: list[BaseException] = []
    both = threading.Barrier(2)

    def train(work: Path) -> None:
        try:
            both.wait(60)
            launch(TOY, job(steps=5, slow_seconds=0.1), work, TWO)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    first, second = ((work / "first.safetensors").read_bytes() for work in works)
    assert first == second
    assert len(warm._idle) == 1


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt, whatever a test before this one has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_launch_that_is_cancelled_as_it_starts_ends_at_once(
    interrupts: None, tmp_path: Path
) -> None:
    launch(TOY, job(steps=2), tmp_path, TWO)
    for twentieths in range(1, 6):
        work = tmp_path / str(twentieths)
        cancel = threading.Timer(twentieths / 20, os.kill, (os.getpid(), signal.SIGINT))
        begun = time.monotonic()
        cancel.start()
        with pytest.raises(KeyboardInterrupt):
            launch(TOY, job(steps=1_000, slow_seconds=0.05), work, TWO)
        assert time.monotonic() - begun < warm.SAVE_SECONDS / 2
        assert not ranks_of(work)


def test_a_prepared_launch_finds_its_process_there(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tasks import warm; "
        "from tasks.config import Config; from tasks.launch import *; "
        f"prepare(LaunchConfig(ranks=2), {FACTS!r}); pid = warm._idle[0].process.pid; "
        f"launch({FACTS!r}, Config(), Path(sys.argv[1]), LaunchConfig(ranks=2)); "
        "print(pid, warm._idle[0].process.pid, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    prepared, used, torch = done.stdout.split()
    assert prepared == used == str(facts(tmp_path)["parent"])
    assert torch == "False"
    assert not psutil.pid_exists(int(used))


def test_an_idle_warm_process_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import time; from tasks import warm; from tasks.launch import *; "
        f"prepare(LaunchConfig(), {FACTS!r}); print(warm._idle[0].process.pid, flush=True); "
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([process], timeout=30)[1] == []


@pytest.mark.parametrize("config", [ONE, TWO], ids=["one rank", "two ranks"])
def test_where_cuda_was_asked_before_the_fork_ranks_start_from_nothing(
    tmp_path: Path, config: LaunchConfig
) -> None:
    prepare(config, "tests.launch.spoiled")
    launch(FACTS, FactsJob(), tmp_path, config)
    assert not facts(tmp_path)["forked"]
    assert facts(tmp_path)["sum"] == 1500 * config.ranks
    assert facts(tmp_path)["parent"] == idle().pid


WAITING = """
import sys
import tasks.training.program as program
from tasks.training.program import SOCKET
from tests.launch.facts import FactsJob, main
program.COLLECTIVE_MINUTES = program.MEETING_MINUTES = 1 / 60
program.run(FactsJob, main)
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_waits_for_another_in_vain_ends_and_says_so(tmp_path: Path, rank: int) -> None:
    (tmp_path / "job.json").write_text("{}")
    with socket.socket() as meeting:
        meeting.bind(("127.0.0.1", 0))
        meeting.set_inheritable(True)
        port, number = meeting.getsockname()[1], meeting.fileno()
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), SOCKET: str(number)}
        command = [sys.executable, "-c", WAITING, str(tmp_path / "job.json")]
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", **ranks, **where}
        subprocess.run(command, cwd=ROOT, env=environment, close_fds=False, timeout=60)
    message = json.loads((tmp_path / "error.json").read_text())["message"]
    assert message.startswith(f"rank {rank} waited in vain for the other ranks, at tasks/training/")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
