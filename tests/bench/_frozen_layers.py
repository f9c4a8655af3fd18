"""Ten epochs over five outcomes with lower layers frozen, from what was kept of them and without.

    python -m tests.bench._frozen_layers FOLDER

FOLDER holds what `_notes.py` writes. A JSON line of the seconds of both, by the clock and of the
processor; members are trained by turns, and what is computed once counts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench._finetunings import alone, member_job
from tests.bench._notes import DEEP, OUTCOMES

BELOW = DEEP - 1
EPOCHS = 10


def main() -> None:
    alone()
    folder = Path(sys.argv[1])
    outcomes = {f"outcome-{number}": folder / f"outcome-{number}" for number in range(OUTCOMES)}
    measured = {
        "one by one": _measured(folder, [{name: path} for name, path in outcomes.items()]),
        "jointly": _measured(folder, [outcomes]),
    }
    print(json.dumps(measured), flush=True)
    os._exit(0)


def _measured(folder: Path, groups: list[dict[str, Path]]) -> dict[str, Any]:
    import torch

    from tasks.finetune import embed, train
    from tasks.finetune.jobs import EmbedJob
    from tasks.training.program import World, _join

    taken = {"kept": {"clock": 0.0, "work": 0.0}, "anew": {"clock": 0.0, "work": 0.0}}

    def add(arm: str, program: Callable[..., None], job: Any, out: Path) -> None:
        (out / "work").mkdir(parents=True)
        world = World(0, 1, 0, out / "work", torch.device("cpu"))
        if not torch.distributed.is_initialized():
            _join(world)
        began = time.perf_counter(), time.process_time()
        program(job, world)
        taken[arm]["clock"] += time.perf_counter() - began[0]
        taken[arm]["work"] += time.process_time() - began[1]

    given = {"base": folder / "deep", "encoded": folder / "short", "freeze_below": BELOW}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        lower = EmbedJob(
            base=folder / "deep",
            below=BELOW,
            tokenizer=folder / "tokenizer",
            precision="auto",
            encoded=folder / "short",
        )
        add("kept", embed.main, lower, root / "lower")
        for index, outcomes in enumerate(groups):
            anew = member_job(folder, epochs=EPOCHS, outcomes=outcomes, **given)
            add("anew", train.main, anew, root / f"anew-{index}")
            kept = anew.model_copy(update={"lower": root / "lower"})
            add("kept", train.main, kept, root / f"kept-{index}")
    return {**taken, "below": BELOW, "layers": DEEP}


if __name__ == "__main__":
    main()
