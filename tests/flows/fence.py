"""A fence around processes: none of them reaches another machine, and who tries is written down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Python imports a module of this name when it starts. What native code does of itself is not seen;
# the libraries that ask servers for something, Prefect's and Hugging Face's, do it in Python.
_SITECUSTOMIZE = """
import os, socket, sys

HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None, socket.gethostname()}
FOLDER = os.path.dirname(__file__)

def write(name, line):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(line + "\\n")

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # None: a socket of Unix
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
    else:
        return
    if host not in HERE and not str(host).startswith("127."):
        write("attempts", f"{event} {host} by {sys.orig_argv}")
        raise OSError(101, "refused by the tests' fence")

write("processes", " ".join(sys.orig_argv))
sys.addaudithook(refuse)
"""


class Fence:
    """A fence, of which a folder holds the code and the record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)

    def around(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment, in which every Python process is behind the fence."""
        path = [str(self.folder), *filter(None, [environment.get("PYTHONPATH")])]
        return {**environment, "PYTHONPATH": os.pathsep.join(path)}

    @property
    def attempts(self) -> list[str]:
        """What tried to reach another machine."""
        return self._lines("attempts")

    @property
    def processes(self) -> list[str]:
        """The commands that ran behind the fence."""
        return self._lines("processes")

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []
