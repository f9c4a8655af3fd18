"""The energy that a training took, where the machine tells it: of GPUs, and of CPU packages.

A GPU's counter is read through NVIDIA's management library, those of the CPUs from Linux's powercap
(RAPL), which many machines show to root alone. Both count all that ran there meanwhile, not this
training alone. Where neither is to be read, nothing is said.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tasks.training.program import World
from tasks.training.watchers.watcher import Run, Step, Watcher

POWERCAP = Path("/sys/class/powercap")
READ_SECONDS = 10.0  # a counter of a busy CPU starts again every 20 minutes or so


@dataclass
class Meter:
    """A counter of energy that only grows, but for starting again at `wraps`."""

    joules: Callable[[], float]
    wraps: float
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.joules()

    def since(self) -> float:
        """Joules since it was read last."""
        now = self.joules()
        more, self.last = now - self.last, now
        return more if more >= 0 else more + self.wraps


class Energy(Watcher):
    """Adds up what this rank's meters show; a training that resumes goes on adding."""

    def __init__(self, meters: Callable[[World], Mapping[str, Meter]] | None = None) -> None:
        self.meters_of = meters or meters_of

    def begin(self, run: Run) -> None:
        self.meters = self.meters_of(run.world)
        self.read = time.monotonic()
        self.path = _path(run.world, run.lesson.name, run.world.rank)
        self.joules = {name: 0.0 for name in self.meters} | _known(self.path)

    def stepped(self, run: Run, step: Step) -> None:
        if time.monotonic() - self.read > READ_SECONDS:
            self._add()

    def end(self, run: Run) -> None:
        self._add()
        run.world.wait()  # until every rank's sum is there

    def _add(self) -> None:
        self.read = time.monotonic()
        for name, meter in self.meters.items():
            self.joules[name] += meter.since()
        if self.joules:
            self.path.write_text(json.dumps(self.joules))


def energy_of(world: World, name: str) -> dict[str, float]:
    """The joules of that training over all ranks, for an artifact's counts; empty: not known."""
    sums: dict[str, float] = {}
    for rank in range(world.size):
        for meter, joules in _known(_path(world, name, rank)).items():
            sums[f"joules_{meter}"] = round(sums.get(f"joules_{meter}", 0.0) + joules, 1)
    return sums


def meters_of(world: World) -> dict[str, Meter]:
    """This rank's: of its GPU, and on the first rank of a machine of the CPUs."""
    meters = {}
    if world.device.type == "cuda" and (gpu := gpu_meter(world.device)):
        meters["gpu"] = gpu
    if world.local_rank == 0:
        meters |= cpu_meters()
    return meters


def cpu_meters(folder: Path = POWERCAP) -> dict[str, Meter]:
    """Those of the CPU packages, under one name each."""
    meters = {}
    for package in sorted(folder.glob("intel-rapl:[0-9]")):  # below them lie their parts
        with suppress(OSError, ValueError):
            counter = package / "energy_uj"
            wraps = float((package / "max_energy_range_uj").read_text()) / 1e6
            number = package.name.partition(":")[2]
            meters[f"cpu_{number}"] = Meter(lambda at=counter: float(at.read_text()) / 1e6, wraps)  # type: ignore[misc]
    return meters


def gpu_meter(device: torch.device) -> Meter | None:
    """The GPU's total since its driver was loaded; None where it has none (before Volta; MIG)."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)):
            return None
        total = library.nvmlDeviceGetTotalEnergyConsumption
        if total(handle, ctypes.byref(millijoules)):
            return None
    except (OSError, AttributeError):
        return None

    def joules() -> float:
        total(handle, ctypes.byref(millijoules))
        return millijoules.value / 1e3

    return Meter(joules, wraps=0.0)


def _path(world: World, name: str, rank: int) -> Path:
    return world.work / f"energy-{name}-{rank}.json"


def _known(path: Path) -> dict[str, float]:
    """What was added up so far; nothing where the file is not there or was cut short."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
