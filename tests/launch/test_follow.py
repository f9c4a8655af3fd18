"""Two machines, both of them this one: a follower serves a flow's launches, and ends with it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from tasks import follow, nodes, warm
from tasks.errors import ConfigError, RanksDied, StoreError, TrainingError
from tasks.launch import LaunchConfig, Progress, launch
from tasks.nodes import Channel, Gathering, secret_of
from tasks.store import Store
from tasks.training.config import TrainingConfig
from tasks.warm import Request
from tests.launch.facts import FactsJob
from tests.launch.test_launch import ROOT, TOY, job, ranks_of, wait_until
from tests.launch.test_warm import FACTS, facts, free_port
from tests.training.toy import ToyArm, ToyJob

ZERO3 = ROOT / "configs" / "deepspeed" / "zero3.json"
ENDLESS = {"steps": 10_000, "slow_seconds": 0.05}

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """A test begins and ends without a warm process and without other machines."""
    warm.let_go()
    yield
    nodes.let_go()
    warm.let_go()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Store(tmp_path / "store").root


@pytest.fixture
def config() -> LaunchConfig:
    address = f"127.0.0.1:{free_port()}"
    return LaunchConfig(nodes=2, rendezvous=address, threads_per_rank=1, accelerator="cpu")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(store: Path, config: LaunchConfig) -> Iterator[Start]:
    """Start what a user starts on the other machine."""
    started = []

    def run(*options: str) -> subprocess.Popen[str]:
        assert config.rendezvous
        script = "from flows.cli import main; main()"
        command = [sys.executable, "-c", script, "follow", config.rendezvous, "--store", str(store)]
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def warm_of(process: subprocess.Popen[str]) -> psutil.Process:
    [forking] = psutil.Process(process.pid).children()
    return forking


def ranks_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return warm_of(process).children()


def losses(work: Path) -> bytes:
    return (work / "first.losses").read_bytes()


@slow
@pytest.mark.parametrize(("ranks", "zero3"), [(1, False), (2, True)], ids=["ZeRO-2", "ZeRO-3"])
def test_two_machines_learn_what_one_does_launch_after_launch(
    store: Path, config: LaunchConfig, start: Start, ranks: int, zero3: bool
) -> None:
    process = start("--ranks", str(ranks))
    training = TrainingConfig(batch_size=8, deepspeed=ZERO3 if zero3 else None)
    toy = ToyJob(arms=(ToyArm(training=training),))
    several = config.model_copy(update={"ranks": ranks})
    forking = []
    for name in ("a", "b"):
        launch(TOY, toy, store / name / "work", several)
        forking.append((warm_of(process), warm._idle[0].process.pid))
        logs = {path.name for path in (store / name / "work" / "logs").iterdir()}
        assert logs == {"launcher.log", "launcher-1.log"} | {
            f"rank-{rank}.log" for rank in range(2 * ranks)
        }
    assert forking[0] == forking[1]
    alone = LaunchConfig(ranks=2 * ranks, threads_per_rank=1, accelerator="cpu")
    launch(TOY, toy, store / "alone" / "work", alone)
    works = [store / name / "work" for name in ("a", "b", "alone")]
    assert len({losses(work) for work in works}) == 1
    nodes.let_go()
    assert process.wait(30) == 0
    assert "has ended" in process.communicate()[1]


@slow
def test_ranks_of_the_other_machine_have_what_the_launch_says(
    store: Path, config: LaunchConfig, start: Start
) -> None:
    process = start()
    work = store / "a" / "work"
    launch(FACTS, FactsJob(), work, config)
    here, there = facts(work, 0), facts(work, 1)
    assert there["parent"] == warm_of(process).pid != here["parent"]
    assert there.keys() == here.keys()
    assert {key for key in here if here[key] != there[key]} == {"parent"}
    assert here["sum"] == 3000
    launch(FACTS, FactsJob(), store / "b" / "work", LaunchConfig(accelerator="cpu"))  # alone


@slow
def test_a_killed_rank_on_the_other_machine_is_named_and_a_new_launch_works(
    store: Path, config: LaunchConfig, start: Start
) -> None:
    process = start()
    work = store / "a" / "work"
    for rank, words in ((1, r"rank 1 on 127\.0\.0\.1"), (0, "rank 0")):
        with pytest.raises(RanksDied, match=rf"^{words} was ended by SIGKILL.*rank-{rank}\.log"):
            launch(TOY, job(at_step=1, kill_rank=rank), work, config)
        assert not ranks_of(work)
    launch(TOY, job(steps=3), work, config)
    assert process.poll() is None


@slow
def test_a_machine_that_dies_is_named_and_waited_for_by_the_next_launch(
    store: Path, config: LaunchConfig, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    work = store / "a" / "work"

    def kill(progress: Progress) -> None:
        if progress.step > 3:
            process.kill()

    with pytest.raises(RanksDied, match=r"^the machine 127\.0\.0\.1 has left.*launcher-1\.log"):
        launch(TOY, job(**ENDLESS), work, config, on_progress=kill)
    assert wait_until(lambda: not ranks_of(work), 5)
    monkeypatch.setattr(nodes, "JOIN_MINUTES", 1 / 60)
    with pytest.raises(TrainingError, match=r"^1 of 2 machines were here after"):
        launch(TOY, job(), work, config)
    monkeypatch.undo()
    start()
    launch(TOY, job(steps=3), work, config)


@slow
def test_a_cancelled_launch_lets_the_ranks_of_both_machines_save(
    store: Path, config: LaunchConfig, start: Start
) -> None:
    process = start()
    work = store / "a" / "work"

    def cancel(progress: Progress) -> None:
        if progress.step > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(TOY, job(**ENDLESS), work, config, on_progress=cancel)
    assert not ranks_of(work)
    for rank in (0, 1):
        assert "Traceback" not in (work / "logs" / f"rank-{rank}.log").read_text()
    seen: list[Progress] = []
    launch(TOY, job(**(ENDLESS | {"slow_seconds": 0.0, "steps": 200})), work, config, seen.append)
    assert seen[0].words.startswith("first, resumed from step ")
    assert process.poll() is None


@slow
def test_a_machine_that_is_told_to_stop_lets_all_ranks_save(
    store: Path, config: LaunchConfig, start: Start
) -> None:
    process = start()
    work = store / "a" / "work"

    def terminate(progress: Progress) -> None:
        if progress.step > 3:
            process.terminate()

    with pytest.raises(RanksDied):
        launch(TOY, job(**ENDLESS), work, config, on_progress=terminate)
    assert not ranks_of(work)
    assert (work / "checkpoints" / "first" / "latest.json").exists()
    assert process.wait(30) == 128 + 15


@slow
def test_all_ends_with_a_flow_that_is_killed_and_a_follower_that_stays_serves_the_next(
    store: Path, config: LaunchConfig, start: Start
) -> None:
    process = start("--stay")
    work = store / "a" / "work"
    script = (
        "import sys; from pathlib import Path; from tasks.launch import *; "
        "from tests.launch.test_launch import TOY, job; "
        f"launch(TOY, job(steps=10000, slow_seconds=0.1), Path({str(work)!r}), "
        f"LaunchConfig.model_validate_json({config.model_dump_json()!r}))"
    )
    flow = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    progress = work / "progress.jsonl"
    assert wait_until(lambda: progress.exists() and len(progress.read_text().split("\n")) > 2, 90)
    assert len(ranks_of(work)) == 2
    begun = time.monotonic()
    flow.kill()
    flow.wait()
    assert wait_until(lambda: not ranks_of(work), 15)
    assert time.monotonic() - begun < warm.SAVE_SECONDS  # they were not asked to save
    launch(TOY, job(steps=3), work, config)
    assert process.poll() is None


def test_nobody_comes(store: Path, config: LaunchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "JOIN_MINUTES", 0)
    command = f"clinfuse follow {config.rendezvous} --ranks 1 --store {store}"
    with pytest.raises(TrainingError, match=f"^1 of 2 machines .* run `{re.escape(command)}` on"):
        launch(TOY, job(), store / "a" / "work", config)


def test_no_flow_listens(
    store: Path, config: LaunchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "WAIT_HOURS", 1 / 3600)
    said: list[str] = []
    assert config.rendezvous
    with pytest.raises(TrainingError, match="no flow run asked for ranks at 127"):
        follow._joined(config.rendezvous, b"", said.append)
    assert said == [
        f"waiting for a flow run at {config.rendezvous} ([Errno 111] Connection refused)"
    ]


def test_who_has_another_secret_is_refused_on_both_sides(
    store: Path, config: LaunchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "JOIN_MINUTES", 3 / 60)
    assert config.rendezvous
    gathering = Gathering(config.rendezvous)
    refused: list[BaseException] = []
    other = secret_of(tmp_path)
    assert other != secret_of(store)

    def come() -> None:
        try:
            follow._joined(str(config.rendezvous), other, print)
        except ConfigError as error:
            refused.append(error)

    thread = threading.Thread(target=come)
    thread.start()
    with pytest.raises(TrainingError, match=r"^1 of 2 machines"):
        gathering.gather(1, secret_of(store), "")
    thread.join()
    gathering.close()
    assert "has another secret" in str(refused[0])


def test_a_changed_or_repeated_message_is_refused() -> None:
    ends = socket.socketpair(socket.AF_UNIX)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ends = (server.accept()[0], client)
    channels: list[Channel] = []
    threads = [
        threading.Thread(
            target=lambda end=end, flow=flow: channels.append(  # type: ignore[misc]
                Channel(end, b"secret", of_flow=flow)
            )
        )
        for end, flow in zip(ends, (True, False), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = channels
    one.send({"stop": 1})
    assert two.receive(1) == {"stop": 1}
    signed = one._signed(one.us, 1, b'{"stop": 1}')  # as the last one
    one.connection.send_bytes(signed)
    with pytest.raises(PermissionError):
        two.receive(1)


def test_the_secret_is_this_users_alone(store: Path) -> None:
    secret = secret_of(store)
    assert len(secret) == 32
    assert secret_of(store) == secret
    [path] = store.glob(".rendezvous-*")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(StoreError, match="others may read"):
        secret_of(store)


def test_a_follower_runs_programs_of_clinfuse_alone(tmp_path: Path) -> None:
    job_path = tmp_path / "job.json"
    job_path.write_text("{}")
    request = Request("tasks.pretrain.train", str(job_path), 1, "", "", 0o77, {}, 2)
    follow._check(request)
    for module in ("os", "tasks", "tasksx.train", "tasks.x; os", "http.server"):
        with pytest.raises(ConfigError, match="no training program of clinfuse"):
            follow._check(Request(module, str(job_path), 1, "", "", 0o77, {}, 2))
    job_path.unlink()
    with pytest.raises(ConfigError, match="must see the same store"):
        follow._check(request)


def test_the_address_is_one_of_this_machine_and_free(config: LaunchConfig, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="rendezvous"):
        LaunchConfig(nodes=2, rendezvous="gpu-1")
    assert config.rendezvous
    with (
        socket.create_server(nodes.address_of(config.rendezvous)),
        pytest.raises(ConfigError, match="a port that no other run uses"),
    ):
        launch(TOY, job(), tmp_path / "work", config)


@slow
def test_one_program_is_started_by_hand_on_each_machine(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    command += ["-m", FACTS, str(tmp_path / "job.json")]
    by_hand = {**os.environ, "PYTHONPATH": str(ROOT), "TORCH_EXTENSIONS_DIR": "by-hand"}
    machines = [subprocess.Popen(command, cwd=ROOT, env=by_hand) for _ in range(2)]
    assert [machine.wait(120) for machine in machines] == [0, 0]
    assert [facts(tmp_path, rank)["sum"] for rank in (0, 1)] == [3000, 3000]
