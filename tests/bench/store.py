"""What it takes to look into a store of 1,000 artifacts: the commands that a user waits for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tasks.keys import Artifact
from tasks.runs import Run
from tasks.store import Store

RUNS, STEPS, FILES, INPUTS = 50, 20, 5, 3  # 1,000 artifacts, each made from the last three before
REPEATS = 5
GOALS = {"ls": 1.0, "du": 1.0, "gc": 2.0, "lineage": 2.0}  # seconds
BIN = Path(sys.executable).parent


def rows() -> list[dict[str, Any]]:
    """The median processor time of each command, which on an idle machine is its wall time."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        last = fill(store)
        for command, goal in GOALS.items():
            arguments = [command, *([f"{last.kind}/{last.key}"] if command == "lineage" else [])]
            seconds, mib = _taken([*arguments, "--store", str(store.root)])
            made.append(_row(command, seconds, goal, mib))
    return made


def fill(store: Store) -> Artifact:
    """Commit what the runs would have; the artifact that was made last."""
    artifact = None
    for number in range(RUNS):
        run = Run(id=f"run-{number}", name=f"run {number}", flow="adapt", deployment=None,
                  started=f"2026-01-01T00:{number:02}:00+00:00", parameters={})  # fmt: skip
        chain: list[Artifact] = []
        for step in range(STEPS):
            artifact = _commit(store, number, step, chain[-INPUTS:])
            chain.append(artifact)
            run.reach(artifact, "made", 1.0)
        run.save(store.root)
    assert artifact
    return artifact


def _commit(store: Store, run: int, step: int, inputs: list[Artifact]) -> Artifact:
    kind, key = f"kind-{step % 10}", f"{run * STEPS + step:016x}"
    out = store.fresh(kind, key)
    for number in range(FILES):
        (out / f"part-{number}.bin").write_bytes(f"{key} {number}".encode() * 50)
    facts = {
        "kind": kind,
        "key": key,
        "version": 1,
        # as long as the manifests of the demo's run, 3.6 kB on average
        "config": {f"field_{number}": {"value": number, "name": "x" * 40} for number in range(20)},
        "inputs": [
            {"kind": source.kind, "key": source.key, "digest": source.digest} for source in inputs
        ],
        "counts": {"rows": 1000, "labels": 50},
        "created": f"2026-01-01T{run // 60:02}:{run % 60:02}:{step:02}.000000+00:00",
        "seconds": 1.0,
        "peak_mib": 100.0,
        "packages": {f"package-{number}": "1.2.3" for number in range(10)},
        "git_commit": "0" * 40,
        "host": "here",
        "flow_run_id": f"run-{run}",
        "task_run_id": f"task-{run}-{step}",
    }
    return store.commit(out, facts)


def _taken(arguments: list[str]) -> tuple[float, float]:
    """The median of processor seconds and the peak in MiB of the command `clinfuse`."""
    seconds = []
    for _ in range(REPEATS):
        before = _children()
        subprocess.run([str(BIN / "clinfuse"), *arguments], check=True, capture_output=True)
        seconds.append(_children() - before)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return median(seconds), peak


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _row(command: str, seconds: float, goal: float, mib: float) -> dict[str, Any]:
    return {
        "what": f"clinfuse {command}, {RUNS * STEPS:,} artifacts",
        "unit": "s",
        "ours": seconds,
        "peer": None,
        "peer_name": "processor time, median of 5",
        "ratio": goal / seconds,
        "goal": f"at most {goal:g}",
        "peak_mib": round(mib),
    }
