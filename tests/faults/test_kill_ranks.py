"""kill -9 or SIGTERM of a rank, of what it was forked from, of the launcher: the next run ends as
one that nobody killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from tasks.errors import RanksDied
from tasks.launch import LaunchConfig, Progress, launch
from tests.launch.test_launch import ROOT, TOY, job, ranks_of, wait_until

TWO = LaunchConfig(ranks=2, threads_per_rank=1, accelerator="cpu")
TOYS = {"steps": 60, "training": {"batch_size": 8, "checkpoint_every_steps": 5}}
SLOWLY = TOYS | {"slow_seconds": 0.05}
KILLS = {
    "the first rank": signal.SIGKILL,
    "the second rank": signal.SIGKILL,
    "what they were forked from": signal.SIGKILL,
    "the launcher": signal.SIGKILL,
    "the launcher, gently": signal.SIGTERM,
    "the second rank, gently": signal.SIGTERM,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run that nobody killed."""
    work = tmp_path_factory.mktemp("whole")
    launch(TOY, job(**TOYS), work, TWO)
    return work


@pytest.mark.parametrize("whom", KILLS)
def test_the_next_run_ends_as_if_nobody_had_been_killed(
    whole: Path, tmp_path: Path, whom: str
) -> None:
    if "launcher" in whom:
        launched_and_killed(tmp_path, KILLS[whom])
    else:
        with pytest.raises(RanksDied):
            launch(TOY, job(**SLOWLY), tmp_path, TWO, on_progress=Killer(tmp_path, whom))
    assert wait_until(lambda: not ranks_of(tmp_path), 30)
    assert not (tmp_path / "first.losses").exists()
    seen: list[Progress] = []
    launch(TOY, job(**TOYS), tmp_path, TWO, on_progress=seen.append)
    assert seen[0].words.startswith("first, resumed from step ")
    if whom == "the second rank, gently":
        assert seen[0].step >= 12  # saved where it was told to stop
    for name in ("first.losses", "first.safetensors"):
        found, expected = (load_file(work / name) for work in (tmp_path, whole))
        assert all(found[key].equal(tensor) for key, tensor in expected.items())


class Killer:
    """Kills one of a launch's processes once it has a checkpoint."""

    def __init__(self, work: Path, whom: str) -> None:
        self.work, self.whom, self.done = work, whom, False

    def __call__(self, progress: Progress) -> None:
        if self.done or progress.step < 12:
            return
        self.done = True
        ranks = sorted(ranks_of(self.work), key=lambda rank: rank.pid)
        victim = ranks[0] if "first" in self.whom else ranks[1]
        if "forked" in self.whom:
            victim = psutil.Process(victim.ppid())
        victim.send_signal(KILLS[self.whom])


def launched_and_killed(work: Path, number: signal.Signals) -> None:
    """Run it in a process of its own, which is killed alone."""
    script = (
        "import sys; from pathlib import Path; from tasks.launch import *; "
        "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); "
        "from tests.faults.test_kill_ranks import SLOWLY, TWO; "
        "from tests.launch.test_launch import TOY, job; "
        "launch(TOY, job(**SLOWLY), Path(sys.argv[1]), TWO)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", script, str(work)], cwd=ROOT)
    latest = work / "checkpoints" / "first" / "latest.json"
    assert wait_until(latest.exists, 120)
    time.sleep(0.3)
    os.kill(launcher.pid, number)
    launcher.wait(60)
