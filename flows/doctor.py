"""What this machine has of what a run needs: one finding a line, each with what to do.

Torch is imported in a child process only. Nothing is left behind, and no store is made.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from flows.loading import flow_of
from flows.run import check_preset
from tasks.errors import ClinfuseError
from tasks.provenance import gpus, has_gpu
from tasks.store import Store
from tasks.store.folder import MAKING, MARKER
from tasks.store.locks import locked

CHILD_SECONDS = 300.0  # imports of torch and DeepSpeed from a cold disk
LITTLE_GIB, TOO_LITTLE_GIB = 10.0, 1.0  # of free disk
_IMPORTS = """
import json, torch, deepspeed, transformers, peft
from deepspeed.accelerator import get_accelerator
names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "deepspeed": deepspeed.__version__, "gpus": names,
                  "cuda": torch.version.cuda, "accelerator": get_accelerator()._name}))
"""
_TRY_LOCK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1], "a+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held")
else:
    print("free")
"""
_RENAME = """
import os, sys
os.mkdir(sys.argv[1] + "/making")
open(sys.argv[1] + "/making/part", "w").close()
os.rename(sys.argv[1] + "/making", sys.argv[1] + "/made")
print("renamed")
"""
_CORES = """
import ctypes, resource
from tasks.dumps import forbid_core_dumps
forbid_core_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that a run needs, and how it stands."""

    what: str
    state: Literal["ok", "note", "broken"]
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:<7} {self.what:<10} {self.detail}{advice}"


def examine(store: Path, config: Path | None, overrides: Sequence[str]) -> Iterator[Finding]:
    """Every finding, as it is made.

    Args:
        store: where artifacts go, or would.
        config: whose source files, base and settings are looked at, too.
    """
    yield _python()
    yield from _training()
    yield from _store(store)
    yield _prefect()
    yield _source(config, overrides)
    yield from _disk(store)
    yield _core_dumps()


def _python() -> Finding:
    """The interpreter, and the packages that clinfuse requires of it."""
    wrong = []
    for line in importlib.metadata.requires("clinfuse") or ():
        required = Requirement(line)
        if required.marker and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(required.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{required.name} is missing")
            continue
        if not required.specifier.contains(version, prereleases=True):
            wrong.append(f"{required.name} is {version}, not {required.specifier}")
    detail = f"{platform.python_version()} at {sys.prefix}"
    if wrong:
        return Finding("python", "broken", f"{detail}: {', '.join(wrong)}", "run `make setup`")
    return Finding("python", "ok", f"{detail}, with what clinfuse requires")


def _training() -> Iterator[Finding]:
    """What a training program imports, and which device it would take."""
    done = _child(_IMPORTS)
    try:
        facts = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        yield Finding("torch", "broken", f"its import fails ({last})", "run `make setup`")
        return
    yield Finding("torch", "ok", f"{facts['torch']}, CUDA {facts['cuda'] or 'not built in'}")
    yield Finding(
        "deepspeed",
        "ok",
        f"{facts['deepspeed']} on {facts['accelerator']}; none of its operators is needed: the "
        "optimizer is torch's",
    )
    yield _gpu(facts)


def _gpu(facts: dict[str, Any]) -> Finding:
    if facts["gpus"]:
        return Finding("gpu", "ok", ", ".join(facts["gpus"]))
    if has_gpu():
        return Finding(
            "gpu",
            "broken",
            f"the driver shows one ({', '.join(gpus()) or 'of unknown name'}) that torch cannot "
            "use",
            "install a torch for this driver's CUDA, or set launch.accelerator to cpu",
        )
    return Finding("gpu", "note", "there is none", "trainings run on the CPU")


def _store(store: Path) -> Iterator[Finding]:
    """Whether the store can be written, and processes that share it see each other."""
    folder = _nearest(store)
    there = (store / MARKER).exists()
    try:
        detail = f"{Store(store).root}" if there else f"{store} is not there yet"
        yield Finding("store", "ok", detail, "" if there else "the first run makes it")
        probes = store / MAKING if (store / MAKING).is_dir() else folder
        with tempfile.TemporaryDirectory(dir=probes, prefix=".doctor-") as probe:
            yield from _two_processes(Path(probe))
    except ClinfuseError as error:
        yield Finding("store", "broken", str(error))
    except OSError as error:
        yield Finding(
            "store",
            "broken",
            f"{folder} cannot be written ({error.strerror})",
            "choose another with --store, or correct its permissions",
        )


def _two_processes(folder: Path) -> Iterator[Finding]:
    """Whether a lock that one process holds is held for another, and a rename is seen by it."""
    path = folder / "lock"
    with locked(path):
        while_held = _said(_TRY_LOCK, str(path))
    afterwards = _said(_TRY_LOCK, str(path))
    if (while_held, afterwards) == ("held", "free"):
        yield Finding("flock", "ok", "held for a second process, and free after it")
    else:
        yield Finding(
            "flock",
            "broken",
            f"a second process found a held lock {while_held}, and a free one {afterwards}",
            "mount the file system with locks (NFS without nolock, Lustre with flock), or choose "
            "another store",
        )
    renamed = _said(_RENAME, str(folder)) == "renamed"
    if renamed and os.listdir(folder / "made") == ["part"] and not (folder / "making").exists():
        yield Finding("rename", "ok", "a folder that a second process renamed is seen whole")
    else:
        yield Finding(
            "rename",
            "broken",
            "a folder cannot be renamed, or is not seen after it",
            "choose a store on a POSIX file system",
        )


def _prefect() -> Finding:
    """The API that a run reports to, or what a temporary server needs."""
    from prefect.settings import get_current_settings

    from flows.server import check_answers, check_home

    settings = get_current_settings()
    url = settings.api.url
    version = importlib.metadata.version("prefect")
    try:
        check_home(settings.home)
        if url:
            check_answers(url)
    except ClinfuseError as error:
        return Finding("prefect", "broken", str(error))
    where = f"the API at {url} answers" if url else "no API is set: each run starts its own server"
    return Finding("prefect", "ok", f"{version}; {where}")


def _source(config: Path | None, overrides: Sequence[str]) -> Finding:
    """What `clinfuse check` says of the configuration."""
    if config is None:
        return Finding("source", "note", "not looked at", "name a configuration: doctor CONFIG")
    try:
        runs = check_preset(flow_of(config), config, overrides)
    except ClinfuseError as error:
        return Finding("source", "broken", str(error))
    sources = ", ".join(dict.fromkeys(str(run.ingest.source) for run in runs))
    return Finding("source", "ok", f"{sources} has what {config} asks for")


def _disk(store: Path) -> Iterator[Finding]:
    """Free space where artifacts, temporary files and Prefect's records go."""
    from prefect.settings import get_current_settings

    places = {
        "disk": (store, "--store"),
        "temporary": (Path(tempfile.gettempdir()), "TMPDIR"),
        "records": (get_current_settings().home, "PREFECT_HOME"),
    }
    for name, (path, setting) in places.items():
        free = shutil.disk_usage(_nearest(path)).free / 2**30
        detail = f"{free:,.1f} GiB free at {path}"
        if free < TOO_LITTLE_GIB:
            yield Finding(name, "broken", detail, f"free some, or set {setting}")
        elif free < LITTLE_GIB:
            yield Finding(name, "note", detail, "little for a large base or many notes")
        else:
            yield Finding(name, "ok", detail)


def _core_dumps() -> Finding:
    """Whether a process that reads notes would leave its memory on a disk when it crashes."""
    limit, _, dumpable = _said(_CORES).partition(" ")
    if (limit, dumpable) == ("0", "0"):
        return Finding("cores", "ok", "no process that reads notes leaves a core dump")
    return Finding(
        "cores",
        "broken",
        "core dumps cannot be forbidden: a crash may write notes to the disk",
        "turn them off on this machine (sysctl kernel.core_pattern=/dev/null)",
    )


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _said(program: str, *arguments: str) -> str:
    """What a program printed in a process of its own; what went wrong, if it did."""
    done = _child(program, *arguments)
    lines = done.stderr.strip().splitlines()
    return done.stdout.strip() or (lines[-1] if lines else "without an answer")


def _child(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    command = [sys.executable, "-c", program, *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=CHILD_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        late = f"no answer in {CHILD_SECONDS:.0f} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=late)
