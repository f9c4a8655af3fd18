"""The memory of many members: on one base by our scorer, or each a model of its own.

python -m tests.bench._held ours STORE KEY...
python -m tests.bench._held separate COPIES EXPORTED

Prints JSON: MiB before the first is there, and with all; it is what the process holds, not a peak.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

TEXT = ["CHIEF COMPLAINT: chest pain"]


def main() -> None:
    os.environ["DS_ACCELERATOR"] = "cpu"
    arm, *arguments = sys.argv[1:]
    held = ours(*arguments) if arm == "ours" else separate(*arguments)
    before, models = next(held), next(held)
    gc.collect()
    print(json.dumps({"before": before, "after": resident_mib(), "models": models}))


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def ours(store: str, *keys: str) -> Any:
    from tasks.score.scorer import Scorer

    scorer = Scorer(store, device="cpu", most_members=len(keys))
    for key in keys:
        scorer.member(key)
    yield resident_mib()
    scorer.score(TEXT, keys)
    yield len(scorer.held)


def separate(copies: str, exported: str) -> Any:
    import torch
    from transformers import pipeline

    def loaded() -> Any:
        classify = pipeline("text-classification", exported, trust_remote_code=True)
        with torch.no_grad():
            for parameter in classify.model.parameters():  # read in, not mapped from the file
                parameter.copy_(parameter.clone())
        return classify

    yield resident_mib()
    models = [loaded() for _ in range(int(copies))]
    for classify in models:
        classify(TEXT)
    yield len(models)


if __name__ == "__main__":
    main()
