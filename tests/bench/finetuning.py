"""Examples a second of task training beside HF Trainer and PEFT, on one rank, and frozen layers.

The peers: AutoModelForSequenceClassification with PEFT's LoRA under HF Trainer, notes padded to the
longest that may be, as in the paper, or to the longest of a batch. Ours: a member with the same
LoRA and linear head on the last token. The same small LLaMA, notes, labels and batch size; lengths
are log-normal, with the mean and the median of the paper's notes, cut at 2,048. By turns, each in a
process of its own; the medians count. Goals: 95% of what padding alone makes up for; 1.3 times.

Frozen layers: ten epochs over five outcomes, one by one or jointly, all but the last layer frozen,
as `train.main` has it from first to last, with what is computed once counted; beside the same
without what is kept. Goal: 4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench._notes import LONGEST, write_inputs

SHARE = 0.95
_TURNS = 3


def rows() -> list[dict[str, Any]]:
    """One row by the clock, and one by the processor's time, of each comparison."""
    arms: dict[str, list[Mapping[str, Any]]] = {"ours": [], "paper": [], "dynamic": []}
    with tempfile.TemporaryDirectory() as folder:
        lengths = write_inputs(Path(folder))
        for _ in range(_TURNS):
            for arm, taken in arms.items():
                taken.append(_run("_finetunings", arm, folder))
        frozen = _run("_frozen_layers", folder)
    fill = lengths.mean() / LONGEST
    print(f"notes of {lengths.mean():.0f} tokens, rows of {LONGEST} are {fill:.1%} full")
    peers = {
        "paper": (f"HF Trainer + PEFT, rows of {LONGEST}, {fill:.1%} full", SHARE / fill),
        "dynamic": ("HF Trainer + PEFT, padded to a batch's longest", 1.3),
    }
    made = []
    for arm, (peer_name, goal) in peers.items():
        for name, unit in (("clock", "1/s"), ("work", "notes a second of the processor")):
            ours, peer = (median(taken[name] for taken in arms[which]) for which in ("ours", arm))
            what = "finetuning of a small LLaMA, one rank, notes"
            made.append(_row(what, unit, ours, peer, ours / peer, peer_name, round(goal, 2)))
    for how, of_arms in frozen.items():
        for name, unit in (("clock", "s"), ("work", "seconds of the processor")):
            ours, peer = of_arms["kept"][name], of_arms["anew"][name]
            what = f"10 epochs over 5 outcomes, {how}, {of_arms['below']} of {of_arms['layers']}"
            peer_name = "lower layers computed anew"
            made.append(_row(f"{what} layers frozen", unit, ours, peer, peer / ours, peer_name, 4))
    return made


def _row(
    what: str, unit: str, ours: float, peer: float, ratio: float, peer_name: str, goal: float
) -> dict[str, Any]:
    numbers = {"ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ratio, "goal": goal}
    return {"what": what, "unit": unit, **numbers, "peak_mib": None}


def _run(program: str, *arguments: str) -> Mapping[str, Any]:
    command = [sys.executable, "-m", f"tests.bench.{program}", *arguments]
    cores = len(os.sched_getaffinity(0))
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    line: Mapping[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return line
