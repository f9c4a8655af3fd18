"""The machines of a launch: the others are gathered once a flow run, and ranks work on all.

On each other machine `clinfuse follow` (`tasks/follow.py`) forks ranks from a warm process of its
own. Here is the flow's end: it listens on `launch.rendezvous`, and this connection tells either
side when the other has died.
"""

from __future__ import annotations

import atexit
import hmac
import itertools
import json
import os
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tasks import errors
from tasks.config import Config
from tasks.errors import ConfigError, RanksDied, StoreError, TrainingError
from tasks.failures import PREEMPTED
from tasks.reporting import Reading, report
from tasks.store.folder import MARKER
from tasks.warm import ALONE_SECONDS, STOP_SECONDS, Death, Request, Warm, serving

JOIN_MINUTES = 10.0  # how long a launch waits for the other machines
MESSAGE_SECONDS = 10  # for a message to arrive whole; a stranger who says nothing is let go then
SECRET_BYTES = DIGEST_BYTES = 32


class Channel:
    """Messages between the flow's machine and another, each signed with the store's secret.

    The two nonces make signatures of another connection worthless, and numbers those of another
    message. Nothing is encrypted, as torch's own connections are not.
    """

    def __init__(self, connected: socket.socket, secret: bytes, *, of_flow: bool) -> None:
        """Greet the other end. OSError or EOFError: it is gone; PermissionError: its secret."""
        self.host = connected.getpeername()[0]
        connected.settimeout(None)
        limit = struct.pack("ll", MESSAGE_SECONDS, 0)
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit),
            (socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # a machine that lost its power or network
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),  # is noticed within 20 s
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        ):
            connected.setsockopt(level, option, value)
        self.connection = connection.Connection(connected.detach())
        nonce = os.urandom(DIGEST_BYTES)
        self.connection.send_bytes(nonce)
        nonces = (nonce, self.connection.recv_bytes(DIGEST_BYTES))
        self.context = b"".join(nonces if of_flow else reversed(nonces))
        self.secret = secret
        self.us, self.them = (b"1", b"2") if of_flow else (b"2", b"1")
        self.sent, self.received = itertools.count(), itertools.count()
        self.send({})
        self.receive(MESSAGE_SECONDS)

    def send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.connection.send_bytes(self._signed(self.us, next(self.sent), body))

    def receive(self, seconds: float | None) -> dict[str, Any] | None:
        """The next message; None where none comes within so many seconds."""
        if not self.connection.poll(seconds):
            return None
        signed = self.connection.recv_bytes()
        body = signed[DIGEST_BYTES:]
        if not hmac.compare_digest(signed, self._signed(self.them, next(self.received), body)):
            raise PermissionError
        return json.loads(body)

    def _signed(self, sender: bytes, number: int, body: bytes) -> bytes:
        content = sender + self.context + number.to_bytes(8) + body
        return hmac.digest(self.secret, content, "sha256") + body


class Node:
    """Another machine, asked for ranks as a `Warm` is."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.serving = False
        self.log = ""

    def ask(self, config: Config, request: Request) -> None:
        self.log, self.serving = request.log, True
        with suppress(OSError):  # it has just gone; who waits for the answer is told
            self.channel.send({"config": config.model_dump(), "request": asdict(request)})

    def deaths(self, seconds: float) -> list[Death] | None:
        """As `Warm.deaths`."""
        try:
            answer = self.channel.receive(seconds)
        except (OSError, EOFError):
            self.leave()
            raise RanksDied(
                f"the machine {self.channel.host} has left the run, and its ranks with it; its log "
                f"is {self.log}; start `clinfuse follow` on it again, and run again to resume"
            ) from None
        if answer is None:
            return None
        self.serving = False
        if "error" in answer:
            raise getattr(errors, answer["error"])(f"{self.channel.host}: {answer['message']}")
        return [(rank, code) for rank, code in answer["deaths"]]

    def tell_to_stop(self, seconds: float) -> None:
        with suppress(OSError):
            self.channel.send({"stop": seconds})

    def leave(self) -> None:
        """Close the connection: the machine ends its ranks."""
        self.serving = False
        self.channel.connection.close()


class Ranks:
    """The ranks of one launch, on this machine and on others."""

    def __init__(self, here: Warm, others: list[Node], ranks: int) -> None:
        self.here, self.others, self.ranks = here, others, ranks  # ranks: on each machine
        self.ended: list[Death] = []

    def name_of(self, rank: int) -> str:
        node = rank // self.ranks
        return f"rank {rank}" + (f" on {self.others[node - 1].channel.host}" if node else "")

    def deaths(self, seconds: float) -> list[Death] | None:
        """As `Warm.deaths`; where ranks of one machine have failed, those of the others stop."""
        machines: list[Warm | Node] = [self.here, *self.others]
        for machine in machines:
            if machine.serving and (ended := machine.deaths(seconds / len(machines))) is not None:
                self.ended += ended
                if failed := {code for _, code in ended} - {0}:
                    saved = failed <= {PREEMPTED, -signal.SIGTERM}
                    self.stop(STOP_SECONDS if saved else ALONE_SECONDS)
                    return self.ended
        return None if any(machine.serving for machine in machines) else self.ended

    def stop(self, seconds: float) -> None:
        """As `Warm.stop`, on all machines at once."""
        deadline = time.monotonic() + seconds + 1
        serving = [node for node in self.others if node.serving]
        for node in serving:
            node.tell_to_stop(seconds)
        if self.here.serving:
            self.ended += self.here.stop(seconds)
        try:
            for node in serving:
                self.ended += node.deaths(max(0, deadline - time.monotonic())) or []
        finally:
            for node in serving:
                if node.serving:  # it does not answer
                    node.leave()


class Gathering:
    """The machines that have come to an address of this one."""

    def __init__(self, rendezvous: str) -> None:
        self.nodes: list[Node] = []
        try:
            self.server = socket.create_server(address_of(rendezvous))
        except OSError as error:
            raise ConfigError(
                f"launch.rendezvous: {rendezvous} cannot be listened on ({error.strerror}); name "
                "this machine as the others reach it, and a port that no other run uses"
            ) from None

    def gather(self, count: int, secret: bytes, command: str) -> list[Node]:
        """Wait until so many others are here; those of an earlier launch are, if they live."""
        for node in self.nodes:
            if node.channel.connection.closed or node.channel.connection.poll(0):  # its end
                node.leave()
        self.nodes = [node for node in self.nodes if not node.channel.connection.closed]
        deadline = time.monotonic() + 60 * JOIN_MINUTES
        while len(self.nodes) < count:
            here = len(self.nodes) + 1
            report(Reading(here, count + 1, f"machines are here; on each other run `{command}`"))
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"{here} of {count + 1} machines were here after {JOIN_MINUTES:g} minutes; run "
                    f"`{command}` on each other machine, and run again"
                )
            if connection.wait([self.server], 1.0):
                connected, _ = self.server.accept()
                with suppress(OSError, EOFError):  # a stranger, or gone meanwhile
                    self.nodes.append(Node(Channel(connected, secret, of_flow=True)))
        return self.nodes[:count]

    def close(self) -> None:
        self.server.close()
        for node in self.nodes:
            node.leave()


_gatherings: dict[str, Gathering] = {}
_one_at_a_time = threading.Lock()  # the other machines serve one launch
os.register_at_fork(after_in_child=_gatherings.clear)


@contextmanager
def serving_on(
    nodes: int, environment: Mapping[str, str], request: Request, config: Config, rendezvous: str
) -> Iterator[Ranks]:
    """As `warm.serving`, on so many machines; the others take their environment from the config."""
    root = root_of(Path(request.job))
    command = f"clinfuse follow {rendezvous} --ranks {request.ranks} --store {root}"
    with _one_at_a_time, socket.socket() as meeting:
        if rendezvous not in _gatherings:
            _gatherings[rendezvous] = Gathering(rendezvous)
        others = _gatherings[rendezvous].gather(nodes - 1, secret_of(root), command)
        # a port for the ranks, ours until the first rank listens on it
        meeting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        meeting.bind((address_of(rendezvous)[0], 0))
        request = replace(request, world=nodes * request.ranks, meeting=meeting.getsockname())
        with serving(environment, request) as here:
            ranks = Ranks(here, others, request.ranks)
            try:
                for number, node in enumerate(others, 1):
                    log = Path(request.log).with_name(f"launcher-{number}.log")
                    log.write_bytes(b"")
                    first = number * request.ranks
                    node.ask(config, replace(request, first_rank=first, log=str(log)))
                yield ranks
            except TrainingError:
                stop_the_rest(ranks, ALONE_SECONDS)
                raise
            finally:
                stop_the_rest(ranks, STOP_SECONDS)


def stop_the_rest(ranks: Ranks, seconds: float) -> None:
    """End the ranks that are left, on all machines, whatever becomes known of them by that."""
    if ranks.here.serving or any(node.serving for node in ranks.others):
        with suppress(TrainingError):
            ranks.stop(seconds)


@atexit.register
def let_go() -> None:
    """Let the other machines go."""
    while _gatherings:
        _gatherings.popitem()[1].close()


def address_of(rendezvous: str) -> tuple[str, int]:
    host, _, port = rendezvous.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"{rendezvous} is no address; write host:port, such as gpu-1:29500")
    return host, int(port)


def root_of(path: Path) -> Path:
    """The store that a work folder's file is in; outside a store, what the work folder is in."""
    stores = (parent for parent in path.parents if (parent / MARKER).exists())
    return next(stores, path.parents[1])


def secret_of(root: Path) -> bytes:
    """What only this user's processes know who see the same store; made where there is none."""
    path = root / f".rendezvous-{os.getuid()}"
    try:
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=root, prefix=path.name) as file:  # mode 0600
                file.write(os.urandom(SECRET_BYTES))
                file.flush()
                with suppress(FileExistsError):
                    os.link(file.name, path)
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise StoreError(f"others may read {path}; delete it, and start all machines again")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; correct its permissions") from None
