"""How long a launch takes to a DeepSpeed engine: the first of a run, and those after it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tasks import warm
from tasks.launch import LaunchConfig, launch
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
    return made


def _ours(job: EngineJob, work: Path, ranks: int) -> tuple[float, float]:
    """Seconds to the engine; and the memory in MiB that the warm process alone holds afterwards."""
    begun = time.time()
    launch(PROGRAM, job, work, LaunchConfig(ranks=ranks, accelerator="cpu"))
    [kept] = warm._idle
    memory = psutil.Process(kept.process.pid).memory_full_info()
    return float((work / BUILT).read_text()) - begun, memory.uss / 2**20


def _torchrun(job: EngineJob, work: Path, ranks: int) -> float:
    work.mkdir(parents=True)
    path = work / "job.json"
    path.write_text(job.model_dump_json())
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "DS_ACCELERATOR": "cpu"}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", "-m", PROGRAM, str(path)]
    begun = time.time()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return float((work / BUILT).read_text()) - begun


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
