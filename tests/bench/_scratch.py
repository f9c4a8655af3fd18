"""Run a version's program that trains a base from nothing, and note when each step's batch is made.

PYTHONPATH=VERSION python _scratch.py PROGRAM LESSON JOB.json TICKS
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any


def main(program: str, lesson: str, job: str, ticks: str) -> None:
    language = importlib.import_module(lesson).LanguageLesson
    batch = language.batch

    def ticking(self: Any, step: int) -> Any:
        made = batch(self, step)
        with Path(ticks).open("a") as file:
            file.write(f"{time.perf_counter()} {time.process_time()} {made.tokens}\n")
        return made

    language.batch = ticking
    module = importlib.import_module(program)
    sys.argv = [program, job]
    named = {name: vars(module)[name] for name in ("BaseJob", "TrainJob") if name in vars(module)}
    module.run(named.get("TrainJob") or named["BaseJob"], module.main)


if __name__ == "__main__":
    main(*sys.argv[1:])
