"""How long a launch takes to a DeepSpeed engine: the first of a run, and those after it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tasks import nodes, warm
from tasks.launch import LaunchConfig, launch
from tasks.store import Store
from tasks.training.config import TrainingConfig
from tests.bench._engine_program import BUILT, EngineJob

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.bench._engine_program"
ZERO3 = ROOT / "configs" / "deepspeed" / "zero3.json"
GOAL = 2.0  # seconds, of every launch but the first


def rows() -> list[dict[str, Any]]:
    """Ours beside torchrun's: each a launch from the request to the first rank's engine."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for ranks in (1, 2):
            warm.let_go()
            for name, deepspeed in (("ZeRO-2", None), ("ZeRO-3", ZERO3)):
                job = EngineJob(training=TrainingConfig(batch_size=8, deepspeed=deepspeed))
                for number in (1, 2, 3) if deepspeed is None else (4, 5):
                    work = Path(folder) / f"{ranks}-{number}"
                    ours, mib = _ours(job, work, ranks)
                    peer = _torchrun(job, work / "torchrun", ranks)
                    what = f"launch {number} of a run, {name}, {ranks} rank" + "s" * (ranks > 1)
                    made.append(_row(what, ours, peer, GOAL if number > 1 else peer, mib))
        made += _two_nodes(Path(folder))
    return made


def _two_nodes(folder: Path) -> list[dict[str, Any]]:
    """Both are this machine: a follower serves all launches; torchrun is started on each."""
    made = []
    for ranks in (1, 2):
        warm.let_go()
        store = Store(folder / f"store-{ranks}").root
        address = f"127.0.0.1:{_free_port()}"
        script = "from flows.cli import main; main()"
        command = [sys.executable, "-c", script, "follow", address, "--ranks", str(ranks)]
        command += ["--store", str(store)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as follower:
            for number, deepspeed in enumerate((None, None, None, ZERO3, ZERO3), 1):
                job = EngineJob(training=TrainingConfig(batch_size=8, deepspeed=deepspeed))
                work = store / str(number) / "work"
                ours, mib = _ours(job, work, ranks, nodes=2, rendezvous=address)
                peer = _torchrun(job, work / "torchrun", ranks, machines=2)
                zero = "ZeRO-3" if deepspeed else "ZeRO-2"
                what = f"launch {number} of a run, {zero}, 2 nodes of {ranks} rank" + "s" * (
                    ranks > 1
                )
                made.append(_row(what, ours, peer, GOAL if number > 1 else peer, mib))
            nodes.let_go()
            follower.terminate()  # if it has not ended with it
    return made


def _ours(job: EngineJob, work: Path, ranks: int, **several: Any) -> tuple[float, float]:
    """Seconds to the engine; and the memory in MiB that the warm process alone holds afterwards."""
    begun = time.time()
    launch(PROGRAM, job, work, LaunchConfig(ranks=ranks, accelerator="cpu", **several))
    [kept] = warm._idle
    memory = psutil.Process(kept.process.pid).memory_full_info()
    return float((work / BUILT).read_text()) - begun, memory.uss / 2**20


def _torchrun(job: EngineJob, work: Path, ranks: int, machines: int = 1) -> float:
    work.mkdir(parents=True)
    path = work / "job.json"
    path.write_text(job.model_dump_json())
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "DS_ACCELERATOR": "cpu"}
    environment |= {"PYTHONPATH": str(ROOT)}
    meeting = ["--standalone"]
    if machines > 1:
        meeting = [f"--nnodes={machines}", "--rdzv-backend=c10d"]
        meeting += [f"--rdzv-endpoint=127.0.0.1:{_free_port()}"]
    command = [sys.executable, "-m", "torch.distributed.run", *meeting]
    command += [f"--nproc-per-node={ranks}", "-m", PROGRAM, str(path)]
    begun = time.time()
    quiet: Any = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **quiet) for _ in range(machines)]
    if any([process.wait() for process in processes]):
        raise RuntimeError(f"torchrun failed in {work}")
    return float((work / BUILT).read_text()) - begun


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _row(what: str, ours: float, peer: float, goal: float, mib: float) -> dict[str, Any]:
    return {
        "what": what,
        "unit": "s",
        "ours": ours,
        "peer": peer,
        "peer_name": "python -m torch.distributed.run",
        "ratio": peer / ours,
        "goal": f"at most {goal:.2g}",
        "peak_mib": mib,
    }
