"""Train along with a flow run on another machine: `clinfuse follow HOST:PORT`, once a run.

It waits for the flow (`tasks/nodes.py`), serves its launches one after another from a warm process
(`tasks/warm.py`), and ends with it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tasks import warm
from tasks.errors import ClinfuseError, ConfigError, TrainingError
from tasks.launch import POLL_SECONDS, LaunchConfig, environment_of, prepare
from tasks.nodes import Channel, address_of, secret_of
from tasks.warm import Request

WAIT_HOURS = 24.0  # for a flow run, which may read notes for hours before it trains
RETRY_SECONDS = 0.5
OURS = re.compile(r"(tasks|tests)(\.\w+)+")


def follow(
    rendezvous: str, root: Path, ranks: int, *, stay: bool, say: Callable[[str], None]
) -> None:
    """Serve a flow run until it ends; with `stay`, the next ones as well.

    Args:
        root: the store, which is the flow's.
        ranks: as launch.ranks, so that what they need is imported while the flow is waited for.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    secret = secret_of(root)
    prepare(LaunchConfig(ranks=ranks), "tasks.pretrain.train")
    while True:
        channel = _joined(rendezvous, secret, say)
        say(f"joined the flow run at {rendezvous}")
        try:
            while (order := channel.receive(None)) is not None:
                if "request" in order:
                    channel.send(_answer(order, channel))
        except (OSError, EOFError):
            say(f"the flow run at {rendezvous} has ended")
        finally:
            channel.connection.close()
        if not stay:
            return


def _joined(rendezvous: str, secret: bytes, say: Callable[[str], None]) -> Channel:
    """The connection to a flow run, once there is one that lacks a machine."""
    deadline = time.monotonic() + 3600 * WAIT_HOURS
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            connected = socket.create_connection(address_of(rendezvous), timeout=10)
            connection.wait([connected], left)  # it may listen, and need us only later
            return Channel(connected, secret, of_flow=False)
        except PermissionError:
            raise ConfigError(
                f"what listens at {rendezvous} has another secret; give with --store the store of "
                "the flow run there, and start both as the same user"
            ) from None
        except (OSError, EOFError) as error:
            if reason != (reason := str(error)):
                say(f"waiting for a flow run at {rendezvous} ({reason})")
            time.sleep(RETRY_SECONDS)
    raise TrainingError(f"no flow run asked for ranks at {rendezvous} within {WAIT_HOURS:g} hours")


def _answer(order: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """How the ranks that were asked for ended, or why there are none."""
    try:
        request = Request(**{**order["request"], "folder": os.getcwd()})
        _check(request)
        environment = environment_of(LaunchConfig.model_validate(order["config"]))
        with warm.serving(environment, request) as ranks:
            while (deaths := ranks.deaths(POLL_SECONDS)) is None:
                try:
                    told = channel.receive(0)
                except (OSError, EOFError):
                    ranks.stop(0)  # without saving: the next run may be waiting for the folder
                    raise
                if told is not None:
                    deaths = ranks.stop(told["stop"])
                    break
        return {"deaths": deaths}
    except ClinfuseError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _check(request: Request) -> None:
    if not OURS.fullmatch(request.module):
        raise ConfigError(f"{request.module} is no training program of clinfuse")
    if not Path(request.job).exists():
        raise ConfigError(f"{request.job} is not there; all machines must see the same store")
