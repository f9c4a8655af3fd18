"""Nothing of clinfuse, nor of a library that it uses, asks another machine for anything.

All that the commands of this session's world did was done behind a fence, with no variable set
that turns telemetry off or a hub away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import World
from tests.flows.fence import Fence


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 443), 5)",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "urllib.request.urlopen('http://telemetry.example/')",
        "asyncio.run(asyncio.open_connection('192.0.2.1', 443))",
    ],
)
def test_the_fence_holds(tmp_path: Path, attempt: str) -> None:
    """Without this, a fence that nobody touched would prove nothing."""
    fence = Fence(tmp_path / "fence")
    done = subprocess.run(
        [sys.executable, "-c", f"import asyncio, socket, urllib.request; {attempt}"],
        env=fence.around(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "refused by the tests' fence" in done.stderr
    assert len(fence.attempts) == 1


def test_the_chain_reaches_no_machine_but_this_one(world: World) -> None:
    run = [line for line in world.fence.processes if "clinfuse run" in line]
    ranks = [line for line in world.fence.processes if "tasks.training.ranks" in line]
    server = [line for line in world.fence.processes if "prefect server start" in line]
    assert run
    assert ranks
    assert server
    assert world.fence.attempts == []
