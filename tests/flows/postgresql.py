"""A PostgreSQL of a test's own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def _programs() -> Path | None:
    """The folder of initdb and pg_dump, which Debian keeps off the PATH; None: there is none."""
    on_path = shutil.which("initdb")
    found = [
        *Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        *([Path(on_path)] if on_path else []),
    ]
    return found[0].resolve().parent if found else None


PROGRAMS = _programs()
USER = "postgres" if os.getuid() == 0 else None  # it refuses to run as root


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL."""

    folder: Path

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://clinfuse@/postgres?host={self.folder}"

    def dump(self) -> str:
        """All that is in it, as text: in its files, long values are compressed."""
        done = _run("pg_dump", "--host", self.folder, "--username", "clinfuse", "postgres")
        return done.stdout

    def dump_once_it_has(self, words: str) -> str:
        """The dump, once the server has written those words, which it does some time later."""
        for _ in range(120):
            if words in (dump := self.dump()):
                return dump
            time.sleep(0.5)
        raise AssertionError(f"not in the database within a minute: {words}")


@contextmanager
def postgresql() -> Iterator[Database]:
    """A new PostgreSQL; gone at the end."""
    assert PROGRAMS
    # not in pytest's folder, which PostgreSQL's own user could not enter where we are root
    with tempfile.TemporaryDirectory(prefix="clinfuse-") as name:
        folder = Path(name)
        if USER:
            shutil.chown(folder, USER)
        _run("initdb", "--pgdata", folder / "data", "--auth", "trust", "--username", "clinfuse")
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
        process = subprocess.Popen(
            [PROGRAMS / "postgres", "-D", folder / "data", *options],
            user=USER, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while _run("pg_isready", "--host", folder, check=False).returncode:
                assert process.poll() is None, "PostgreSQL stopped while starting"
                time.sleep(0.1)
            yield Database(folder)
        finally:
            process.send_signal(signal.SIGINT)  # not waiting for clients
            process.wait(30)


def _run(
    program: str, *arguments: str | Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    assert PROGRAMS
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    command = [PROGRAMS / program, *arguments]
    return subprocess.run(
        command, user=USER, env=environment, cwd="/", capture_output=True, text=True, check=check
    )
