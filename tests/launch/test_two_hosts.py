"""A training on two hosts gives the losses of the same on one; each has an address of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tasks.launch import LaunchConfig, launch
from tasks.store import Store
from tasks.training.config import TrainingConfig
from tests.launch.test_launch import ROOT, TOY, job, ranks_of, wait_until
from tests.launch.two_hosts import ADDRESSES, two_hosts
from tests.training.toy import ToyArm, ToyJob

ZERO3 = ROOT / "configs" / "deepspeed" / "zero3.json"
RENDEZVOUS = f"{ADDRESSES[0]}:29500"
ARMS = ("zero2", "zero3")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slow

Hosts = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as commands:
        yield commands


@pytest.fixture(scope="module")
def toy() -> ToyJob:
    trainings = (
        TrainingConfig(batch_size=8, micro_batch_size=4, deepspeed=deepspeed)
        for deepspeed in (None, ZERO3)
    )
    arms = (ToyArm(name=name, training=each) for name, each in zip(ARMS, trainings, strict=True))
    return ToyJob(arms=tuple(arms))


@pytest.fixture(scope="module")
def on_one_host(toy: ToyJob, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    work = tmp_path_factory.mktemp("alone")
    launch(TOY, toy, work, LaunchConfig(ranks=2, threads_per_rank=1, accelerator="cpu"))
    return losses(work)


def losses(work: Path) -> list[bytes]:
    return [(work / f"{name}.losses").read_bytes() for name in ARMS]


def start(host: list[str], *arguments: str) -> subprocess.Popen[str]:
    command = [*host, sys.executable, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


@contextmanager
def running(
    hosts: Hosts, store: Path, job: ToyJob, **settings: float
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A flow that launches the job on the first host, and its follower on the second."""
    script = (
        "import sys; from pathlib import Path; from tasks.launch import *; "
        "from tests.training.toy import ToyJob; "
        "config = LaunchConfig(nodes=2, rendezvous=sys.argv[3], threads_per_rank=1, "
        f"accelerator='cpu').model_copy(update={settings!r}); "
        f"launch({TOY!r}, ToyJob.model_validate_json(sys.argv[1]), Path(sys.argv[2]), config)"
    )
    follow = ("follow", RENDEZVOUS, "--store", str(store))
    work = str(store / "a" / "work")
    follower = start(hosts[1], "-c", "from flows.cli import main; main()", *follow)
    flow = start(hosts[0], "-c", script, job.model_dump_json(), work, RENDEZVOUS)
    try:
        yield flow, follower
    finally:
        for process in (flow, follower):
            process.kill()
            process.communicate()


def test_a_run_and_its_follower(
    hosts: Hosts, toy: ToyJob, on_one_host: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store").root
    with running(hosts, store, toy) as (flow, follower):
        assert flow.wait(300) == 0
        assert follower.wait(60) == 0
    assert losses(store / "a" / "work") == on_one_host


def test_a_rank_that_stops_on_the_other_host_is_named(hosts: Hosts, tmp_path: Path) -> None:
    store = Store(tmp_path / "store").root
    work = store / "a" / "work"
    endless = job(steps=100_000, slow_seconds=0.05)
    with running(hosts, store, endless, silent_seconds=10) as (flow, follower):
        progress = work / "progress.jsonl"
        assert wait_until(lambda: progress.exists() and progress.read_text().count("\n") > 2, 300)
        below = set(psutil.Process(follower.pid).children(recursive=True))
        [there] = set(ranks_of(work)) & below
        there.send_signal(signal.SIGSTOP)
        _, told = flow.communicate(timeout=60)
        assert flow.returncode == 1
        assert f"rank 1 on {ADDRESSES[1]} has given no sign of life for 10 s" in told
        assert wait_until(lambda: not ranks_of(work), 15)


def test_torchrun_by_hand_on_each(
    hosts: Hosts, toy: ToyJob, on_one_host: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(toy.model_dump_json())
    command = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={RENDEZVOUS}", "--rdzv-id=by-hand"]
    program = ["-m", TOY, str(tmp_path / "job.json")]
    # the first host does not know its address by its name, as one with a name server would
    conf = (f"is_host={here},join_timeout=120" for here in ("1", "0"))
    started = [
        start(host, *command, f"--local-addr={address}", f"--rdzv-conf={each}", *program)
        for host, address, each in zip(hosts, ADDRESSES, conf, strict=True)
    ]
    try:
        assert [process.wait(300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert losses(tmp_path) == on_one_host
