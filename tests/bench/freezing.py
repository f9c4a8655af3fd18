"""What full finetuning holds in memory with most matrices still in a step, and with none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SHARE = 0.9


def rows() -> list[dict[str, Any]]:
    """Ours: `finetune.training.freezing`; the peer is the same without it."""
    made = []
    for name, title in (("minilm", "MiniLM"), ("smollm2", "SmolLM2-135M")):
        ours, peer = _measured(name, SHARE), _measured(name, 0)
        for key, what, unit in (
            ("kept_mib", "kept for the backward pass", "MiB"),
            ("peak_mib", "peak of the process", "MiB"),
            ("seconds", "a step", "s"),
        ):
            made.append(
                {
                    "what": f"{title}, {what}",
                    "unit": unit,
                    "ours": ours[key],
                    "peer": peer[key],
                    "peer_name": "all matrices learn",
                    "ratio": peer[key] / ours[key],
                    "goal": None,
                    "peak_mib": ours["peak_mib"],
                }
            )
    return made


def _measured(name: str, share: float) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench._freezing", name, str(share)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return line
