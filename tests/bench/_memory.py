"""A process's own peak memory."""

from __future__ import annotations

from pathlib import Path


def high_water_mib() -> float:
    """The largest resident size of this process since it was started, in MiB.

    Not getrusage's: that begins with the size of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
