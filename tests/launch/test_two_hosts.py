"""A training on two hosts gives the losses of the same on one; each has an address of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.launch import LaunchConfig, launch
from tasks.store import Store
from tasks.training.config import TrainingConfig
from tests.launch.test_launch import ROOT, TOY
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


def start(host: list[str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*host, sys.executable, *arguments], cwd=ROOT, env=ENVIRONMENT)


def test_a_run_and_its_follower(
    hosts: Hosts, toy: ToyJob, on_one_host: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store").root
    work = store / "a" / "work"
    config = LaunchConfig(nodes=2, rendezvous=RENDEZVOUS, threads_per_rank=1, accelerator="cpu")
    script = (
        "import sys; from pathlib import Path; from tasks.launch import *; "
        "from tests.training.toy import ToyJob; "
        f"launch({TOY!r}, ToyJob.model_validate_json(sys.argv[1]), Path(sys.argv[2]), "
        "LaunchConfig.model_validate_json(sys.argv[3]))"
    )
    follow = ("follow", RENDEZVOUS, "--store", str(store))
    follower = start(hosts[1], "-c", "from flows.cli import main; main()", *follow)
    job, how = toy.model_dump_json(), config.model_dump_json()
    flow = start(hosts[0], "-c", script, job, str(work), how)
    try:
        assert flow.wait(300) == 0
        assert follower.wait(60) == 0
    finally:
        for process in (flow, follower):
            process.kill()
    assert losses(work) == on_one_host


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
    assert losses(tmp_path) == on_one_host
