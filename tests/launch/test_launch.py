"""The launcher: progress, errors that come back as they were, and no rank that outlives us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import psutil
import pytest
from pydantic import ValidationError

import tasks.launch
from tasks.errors import ConfigError, RanksDied, SystemRefused, TrainingError
from tasks.launch import LOCK, LaunchConfig, Progress, _environment, launch
from tests.training.toy import ToyArm, ToyJob

ROOT = Path(__file__).parents[2]
TOY = "tests.training.toy"
ONE, TWO = LaunchConfig(ranks=1), LaunchConfig(ranks=2)


def job(**settings: object) -> ToyJob:
    return ToyJob(arms=(ToyArm.model_validate(settings),))


def ranks_of(work: Path) -> list[psutil.Process]:
    """The processes that hold the lock of this work folder, as each rank does until it has ended.

    Not by their command line: forked, they have that of the process that they were forked from.
    """
    file = os.stat(work / LOCK)
    name = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [
        psutil.Process(int(lock[4])) for lock in locks if lock[1] == "FLOCK" and lock[5] == name
    ]


def wait_until(condition: object, seconds: float) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_progress_comes_as_it_is_made(tmp_path: Path) -> None:
    seen: list[Progress] = []
    launch(TOY, job(name="arm", steps=3), tmp_path, ONE, on_progress=seen.append)
    assert (seen[0].arm, seen[0].step, seen[0].words) == ("arm", 0, "arm, started")
    assert (seen[-1].step, seen[-1].total) == (3, 3)
    assert seen[-1].loss is not None
    assert "tokens/s" in seen[-1].words


def test_a_users_error_comes_back_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        launch(TOY, job(at_step=2, failure="user"), tmp_path, ONE)
    assert str(caught.value) == "the key 'toy' is wrong; correct it"


def test_a_bug_names_the_place_and_the_log_but_no_content(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        launch(TOY, job(at_step=0, failure="bug"), tmp_path, ONE)
    log = tmp_path / "logs" / "rank-0.log"
    assert "ValueError at tests/training/toy.py:" in str(caught.value)
    assert str(log) in str(caught.value)
    assert "words" not in str(caught.value)
    assert "a patient's words" in log.read_text()


def test_a_cause_in_fixed_words_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"ZeroDivisionError at .* \(division by zero\); see"):
        launch(TOY, job(at_step=0, failure="arithmetic"), tmp_path, ONE)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    with pytest.raises(SystemRefused) as caught:
        launch(TOY, job(at_step=0, failure="disk"), tmp_path, ONE)
    assert str(caught.value).startswith("rank 0 stopped: No space left on device; free space")


@pytest.mark.slow
def test_a_killed_rank_is_named_and_none_is_left(tmp_path: Path) -> None:
    with pytest.raises(RanksDied, match=r"rank 1 was ended by SIGKILL.*rank-1\.log"):
        launch(TOY, job(at_step=1, kill_rank=1), tmp_path, TWO)
    assert wait_until(lambda: not ranks_of(tmp_path), 5)


def test_a_program_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"exit code 1; see the logs in"):
        launch("tests.training.nowhere", job(), tmp_path, ONE)


@pytest.mark.slow
def test_a_cancelled_launch_lets_its_ranks_save_and_leaves_none(tmp_path: Path) -> None:
    def cancel(progress: Progress) -> None:
        if progress.step > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(TOY, job(steps=10_000, slow_seconds=0.05), tmp_path, TWO, on_progress=cancel)
    assert not ranks_of(tmp_path)
    assert not (tmp_path / "first.safetensors").exists()
    saved = json.loads((tmp_path / "checkpoints" / "first" / "latest.json").read_text())
    assert 3 < saved["step"] < 10_000

    seen: list[Progress] = []
    launch(TOY, job(steps=saved["step"] + 2), tmp_path, TWO, on_progress=seen.append)
    assert seen[0].words == f"first, resumed from step {saved['step']}"


@pytest.mark.slow
def test_ranks_die_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tasks.launch import *; "
        "from tests.training.toy import ToyArm, ToyJob; "
        "launch('tests.training.toy', ToyJob(arms=(ToyArm(steps=10000, slow_seconds=0.1),)), "
        "Path(sys.argv[1]), LaunchConfig(ranks=2))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    progress = tmp_path / "progress.jsonl"
    assert wait_until(lambda: progress.exists() and len(progress.read_text().split("\n")) > 2, 90)
    ranks = ranks_of(tmp_path)
    processes = psutil.Process(launcher.pid).children(recursive=True)
    assert len(ranks) == 2
    assert len(processes) == 3  # the warm process and two ranks
    assert set(ranks) < set(processes)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert psutil.wait_procs(processes, timeout=15)[1] == []
    assert not ranks_of(tmp_path)


HOSTILE = {
    **{"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"},
    **{"MASTER_PORT": "29517", "PET_NNODES": "3", "TORCHELASTIC_RUN_ID": "another"},
    **{"DS_ACCELERATOR": "cuda", "TORCH_EXTENSIONS_DIR": "/nowhere", "OMP_NUM_THREADS": "64"},
    **{"PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "HF_HOME": "/nowhere"},
    **{"PREFECT_API_KEY": "secret", "WANDB_API_KEY": "secret", "LD_PRELOAD": ""},
}


def test_a_rank_gets_a_short_list_of_names_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "1"}
    given |= {"NCCL_SOCKET_IFNAME": "eth0", "LD_LIBRARY_PATH": "/cuda"}
    monkeypatch.setattr(os, "environ", {**given, **HOSTILE})
    monkeypatch.setattr(tasks.launch, "has_gpu", lambda: True)
    environment = _environment(tmp_path, LaunchConfig(ranks=2, threads_per_rank=3))
    set_by_us = {
        *("OMP_NUM_THREADS", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED"),
        *("TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"),
        *("HF_HOME", "TORCH_EXTENSIONS_DIR", "CLINFUSE_LAUNCHED", "CLINFUSE_PULSE"),
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    }
    assert set(environment) == set(given) | set_by_us
    assert {name: environment[name] for name in given} == given
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    for name in ("HF_HOME", "TORCH_EXTENSIONS_DIR"):  # nothing is left outside the work folder
        assert environment[name].startswith(str(tmp_path))


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_where_there_is_no_gpu_nothing_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: Literal["auto", "cpu"]
) -> None:
    """A torch with CUDA in it would take every fork for spoiled, and ranks would start cold."""
    monkeypatch.setattr(tasks.launch, "has_gpu", lambda: False)
    environment = _environment(tmp_path, LaunchConfig(accelerator=accelerator))
    assert (environment["DS_ACCELERATOR"], environment["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")


def test_the_environment_does_not_overrule_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod's WORLD_SIZE once made one rank wait an hour for a second."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    seen: list[Progress] = []
    launch(TOY, job(steps=2), tmp_path, ONE, on_progress=seen.append)
    assert seen[-1].step == 2


@pytest.mark.slow
@pytest.mark.parametrize("config", [ONE, TWO], ids=["one rank", "two ranks"])
def test_ranks_run_the_code_of_the_flow_and_not_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: LaunchConfig
) -> None:
    for name in ("tasks", "tests", "torch"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path / "elsewhere")
    launch(TOY, job(steps=2), tmp_path / "work", config)


@pytest.mark.slow
def test_training_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither g++ nor ninja is there; DeepSpeed's operator for CPU ranks would ask for both."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    launch(TOY, job(steps=2), tmp_path / "work", TWO)
    assert not (tmp_path / "work" / "operators").exists()


def test_a_lock_of_an_operator_that_a_killed_run_left_is_not_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "operators" / "async_io" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    launch(TOY, job(steps=2), tmp_path, ONE)
    assert not lock.exists()


def test_several_nodes_need_a_place_to_meet() -> None:
    with pytest.raises(ValidationError, match="set rendezvous"):
        LaunchConfig(nodes=2)
