"""No memory of a process that reads notes is written to a disk when it crashes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.launch import LaunchConfig, Progress, launch
from tests.launch.test_launch import TOY, job, ranks_of

ROOT = Path(__file__).parents[1]
CRASH = """
import ctypes, os, resource, subprocess, sys
{first}
limit = resource.getrlimit(resource.RLIMIT_CORE)[0]
print(limit, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
subprocess.run([sys.executable, "-c", "import os; os.abort()"])
os.abort()
"""
FORBID = "from tasks.dumps import forbid_core_dumps; forbid_core_dumps()"


def allow_cores() -> None:
    """Lift the limit, which an earlier test's step may have set for all of this process."""
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def crash(folder: Path, first: str) -> tuple[str, list[Path]]:
    """Let a process and its child crash in a folder; what it printed, and the cores."""

    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(first=first)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=allow_cores,
    )
    assert done.returncode < 0
    return done.stdout.strip(), list(folder.iterdir())


def test_a_crash_leaves_no_core_of_a_process_nor_of_its_children(tmp_path: Path) -> None:
    assert crash(tmp_path / "forbidden", FORBID) == ("0 0", [])


def test_a_crash_would_leave_one(tmp_path: Path) -> None:
    """Without this, the absence of a core would prove nothing."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.is_file() or "/" in pattern.read_text() or "|" in pattern.read_text():
        pytest.skip("this system writes cores elsewhere than into the current folder")
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("this process may leave no core")
    assert crash(tmp_path / "allowed", "")[1]


@pytest.mark.slow
def test_ranks_leave_no_core(tmp_path: Path) -> None:
    limits: list[str] = []

    def look(progress: Progress) -> None:
        for rank in ranks_of(tmp_path):
            lines = Path(f"/proc/{rank.pid}/limits").read_text().splitlines()
            limits.extend(line for line in lines if line.startswith("Max core"))

    allow_cores()
    launch(TOY, job(steps=6, slow_seconds=0.3), tmp_path, LaunchConfig(ranks=2), look)
    assert limits
    assert {line.split()[4] for line in limits} == {"0"}
