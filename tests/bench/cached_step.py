"""What a step costs whose artifact is in the store, beside an empty Prefect task, on one server."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

STEPS, FILES, ROUNDS = 20, 5, 5
GOAL = 10.0  # milliseconds over an empty task


def rows() -> list[dict[str, Any]]:
    """The median of 20 steps in each of five flow runs, the tasks alternating with the steps."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        tempfile.TemporaryDirectory() as folder,
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(Path(folder) / "store")}),
    ):
        flow = _flow()
        flow()  # makes the artifacts
        time.sleep(2.5)  # hashes of files that were just written are not remembered
        flow()
        measured = [flow() for _ in range(ROUNDS)]
    return [
        _row(f"a cached step over an empty task, {clock} time", *_medians(measured, clock))
        for clock in ("wall", "processor")
    ]


def _flow() -> Any:
    import prefect

    from tasks.step import step

    @step("bench", version=1)
    def make(out: Path, number: int) -> dict[str, int]:
        for file in range(FILES):
            (out / f"part-{file}.bin").write_bytes(bytes(1 << 16))
        return {"number": number}

    @prefect.task
    def empty(number: int) -> int:
        return number

    @prefect.flow(persist_result=False, result_serializer="json")
    def alternate() -> list[dict[str, dict[str, float]]]:
        return [
            {
                "empty": _timed(lambda number=number: empty(number)),
                "step": _timed(lambda number=number: make(number=number)),
            }
            for number in range(STEPS)
        ]

    return alternate


def _timed(call: Any) -> dict[str, float]:
    """Milliseconds on the wall and of this process."""
    began, used = time.perf_counter(), time.process_time()
    call()
    return {
        "wall": (time.perf_counter() - began) * 1000,
        "processor": (time.process_time() - used) * 1000,
    }


def _medians(measured: list[Any], clock: str) -> tuple[float, float]:
    """Of the step and of the empty task: the smallest median of the runs, as load only adds."""
    return (
        min(median(pair["step"][clock] for pair in run) for run in measured),
        min(median(pair["empty"][clock] for pair in run) for run in measured),
    )


def _row(what: str, step: float, empty: float) -> dict[str, Any]:
    return {
        "what": what,
        "unit": "ms",
        "ours": step,
        "peer": empty,
        "peer_name": f"an empty task: {step - empty:.1f} ms less",
        "ratio": GOAL / (step - empty),
        "goal": f"at most {GOAL:g} more",
        "peak_mib": None,
    }
