"""Domain pretraining of LLaMA-7B's shape on one GPU: LoRA, rows of 2,048 tokens, bf16.

    python -m tests.bench gpu

The weights are random. Ours: notes of MIMIC's lengths, packed. HF Trainer and PEFT as they come:
rows that are full, which they get nowhere, and notes a row each, cut and padded, as in the paper.
By turns, each in a process of its own; the medians count. Model FLOPs utilisation is what the
formula of `training.flops` takes for the useful tokens of a second, over the card's dense bf16 rate
in its datasheet.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench._gpu_trainings import ARMS, LENGTH, ROWS
from tests.bench._trainings import run

UTILISATION, FASTER = 0.45, 1.3
_TURNS = int(os.environ.get("TURNS", "2"))


def rows() -> list[dict[str, Any]]:
    """Ours, and each peer, in useful tokens a second; and utilisation and memory."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("this bench needs a GPU; torch finds none")
    taken: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_TURNS):
            for arm, turns in taken.items():
                turns.append(run("tests.bench._gpu_trainings", arm, Path(folder)))
                print(arm, turns[-1], flush=True)
    found = {
        arm: {name: median(turn[name] for turn in turns) for name in turns[0]}
        for arm, turns in taken.items()
    }
    ours, card = found["ours"], torch.cuda.get_device_name()
    what = f"LLaMA-7B's LoRA on one {card}, {ROWS} rows of {LENGTH}"
    made = [
        {
            "what": what,
            "unit": "tok/s",
            "ours": ours["clock"],
            "peer": found[arm]["clock"],
            "peer_name": peer,
            "ratio": ours["clock"] / found[arm]["clock"],
            "goal": FASTER,
            "peak_mib": None,
        }
        for arm, peer in (
            ("full", "HF Trainer + PEFT, rows that are full"),
            ("padded", "HF Trainer + PEFT, a note a row"),
        )
    ]
    made.append(
        {
            "what": f"{what}: model FLOPs utilisation",
            "unit": "of the datasheet's rate",
            "ours": ours["utilisation"],
            "peer": found["full"]["utilisation"],
            "peer_name": "HF Trainer + PEFT, rows that are full",
            "ratio": ours["utilisation"] / found["full"]["utilisation"],
            "goal": UTILISATION,
            "peak_mib": ours["peak_mib"],
        }
    )
    made.append(
        {
            "what": f"{what}: memory beside weights and adapter's state",
            "unit": "MiB",
            "ours": ours["peak_mib"] - ours["held_mib"],
            "peer": found["full"]["peak_mib"] - found["full"]["held_mib"],
            "peer_name": "HF Trainer + PEFT, rows that are full",
            "ratio": None,
            "goal": None,
            "peak_mib": ours["peak_mib"],
        }
    )
    return made
