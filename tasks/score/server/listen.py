"""Choose the members, listen, and end when all that was taken in is answered."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence

import torch
import uvicorn

from tasks.dumps import forbid_core_dumps
from tasks.errors import ClinfuseError, ConfigError
from tasks.export.member import KIND
from tasks.score.choose import chosen
from tasks.score.scorer import Scorer
from tasks.score.server.app import application
from tasks.score.server.served import Served

GRACE_SECONDS = 60  # for what was taken in; a client that stalls is then left
MOST_CONNECTIONS = 1024

log = logging.getLogger(__name__)


def served_from(scorer: Scorer, run: str | None, members: Sequence[str]) -> Served:
    """Those of a run, or of these keys; where neither is given, all that can be read.

    Raises ConfigError or StoreError where one that is named is not there, or none is.
    """
    if run is not None or members:
        records = [scorer.member(key) for key in chosen(scorer.store, run, members)]
        return Served({record.key: record for record in records})
    found = {}
    for manifest in scorer.store.manifests():
        if manifest.kind == KIND:
            try:
                found[manifest.key] = scorer.member(f"{KIND}/{manifest.key}")
            except ClinfuseError as error:
                log.warning("not served: %s", error)
    return Served(found)


def listen(
    scorer: Scorer,
    served: Served,
    host: str,
    port: int,
    api_key: str | None,
    say: Callable[[str], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT comes, and what was taken in is answered.

    Args:
        port: 0: one that is free.
        say: is told the address.

    Raises ConfigError where it cannot be listened on.
    """
    forbid_core_dumps()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # a core is left to HTTP
    config = uvicorn.Config(
        application(scorer, served, api_key=api_key),
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,  # it has the paths as they were asked for
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    listening = _bound(host, port)
    name = f"[{host}]" if ":" in host else host
    say(f"http://{name}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
    except OSError as error:
        raise ConfigError(
            f"{host} cannot be listened on at port {port} ({error.strerror}); correct --host, or "
            "choose another --port"
        ) from None
