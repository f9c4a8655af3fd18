"""Two hosts: network namespaces with an address each, and no other way to reach one another."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ADDRESSES = ("10.203.7.1", "10.203.7.2")
WHY_NOT = "two hosts are network namespaces here, which takes root and the command `ip`"


@contextmanager
def two_hosts() -> Iterator[tuple[list[str], list[str]]]:
    """What to put before a command, so that it runs on the first host, or on the second."""
    names = [f"clinfuse-{os.getpid()}-{letter}" for letter in "ab"]
    ends = [f"cf{os.getpid()}{letter}" for letter in "ab"]
    if not shutil.which("ip"):
        pytest.skip(WHY_NOT)
    try:
        if not _ip("netns", "add", names[0]):
            pytest.skip(WHY_NOT)
        steps = [("netns", "add", names[1])]
        steps += [("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])]
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            steps += [("link", "set", end, "netns", name)]
            steps += [("-n", name, "addr", "add", f"{address}/24", "dev", end)]
            steps += [("-n", name, "link", "set", link, "up") for link in (end, "lo")]
        if not all(_ip(*step) for step in steps):
            pytest.skip(WHY_NOT)
        first, second = (["ip", "netns", "exec", name] for name in names)
        yield first, second
    finally:
        for name in names:
            _ip("netns", "del", name)


def _ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True).returncode == 0
