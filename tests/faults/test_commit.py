"""kill -9 at every point of a commit: the artifact is there whole, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.store import Store
from tests.test_store import FACTS, make

PROGRAM = """
import os, signal, sys
from pathlib import Path
from tasks.store import Store
from tests.test_store import make

left = int(sys.argv[2])

def dying(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

os.fsync, os.rename, os.open = dying(os.fsync), dying(os.rename), dying(os.open)
Path.rename = dying(Path.rename)
Path.write_text = dying(Path.write_text)
make(Store(Path(sys.argv[1])), "k", "new")
"""


@pytest.mark.parametrize("there_before", [False, True], ids=["first", "refresh"])
def test_a_kill_at_any_point_leaves_nothing_half(tmp_path: Path, there_before: bool) -> None:
    root = Path(__file__).parents[2]
    points = 0
    for point in range(40):
        store = Store(tmp_path / f"store-{point}")
        if there_before:
            make(store, "k", "old")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(store.root), str(point)],
            env={**os.environ, "PYTHONPATH": str(root)},
            check=False,
        )
        found = store.find("notes", "k")
        if found:
            text = (store.path("notes", "k") / "notes" / "part-0.txt").read_text()
            assert text in ({"old", "new"} if there_before else {"new"})
        assert make(store, "k", "again").counts == FACTS["counts"]
        assert (store.path("notes", "k") / "notes" / "part-0.txt").read_text() == "again"
        if done.returncode == 0:
            assert found
            break
        assert done.returncode == -signal.SIGKILL
        points += 1
    assert points > 8, "the program was not killed often enough to show anything"
