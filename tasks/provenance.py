"""With what an artifact was made: packages, commit, host, memory."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("clinfuse", "prefect", "pyarrow", "torch", "transformers", "peft", "deepspeed"),
    *("tokenizers", "numpy", "scikit-learn"),
)


def provenance() -> dict[str, Any]:
    """The fields of a manifest that say when, where and with which code it was made."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "packages": _packages(),
        "git_commit": _git_commit(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "gpus": gpus(),
    }


def gpus(driver: Path = Path("/proc/driver/nvidia")) -> tuple[str, ...]:
    """The models of the machine's NVIDIA GPUs, read from the driver, without torch."""
    models = []
    for path in sorted(driver.glob("gpus/*/information")):
        try:
            lines = path.read_text().splitlines()
        except OSError:  # a container may show the folder and not the file
            continue
        models += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return tuple(models)


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA or AMD GPU, by its device files, without torch."""
    # NVIDIA's, AMD's, those that Windows gives to its Linux, and a Jetson's
    names = ("nvidia[0-9]*", "kfd", "dxg", "nvhost-gpu")
    return bool(gpus()) or any(device for name in names for device in Path("/dev").glob(name))


def peak_mib() -> float:
    """The largest resident size so far of this process or of one child that has ended, in MiB."""
    targets = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(target).ru_maxrss for target in targets) / 1024


@functools.cache
def _packages() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
