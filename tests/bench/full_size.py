"""The whole ingest stage over a source of MIMIC-IV 2.2's counts and lengths, at several shares.

CLINFUSE_BENCH_SHARE names the shares (default 0.01; "0.01,0.1,1" shows that time is linear and
memory flat). The stage runs in a process of its own, on the configuration that the demo runs on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
from isal import igzip

from tasks.synth.hospital import COLUMNS
from tests.bench._note_parts import NoteParts, note_parts
from tests.bench._tables import Hospital

_PEAK_GOAL_MIB = 2048
_ROWS_AT_ONCE = 2000
_CONFIG = "configs/demo.yaml"


def rows() -> list[dict[str, Any]]:
    """Seconds, MB/s and peak memory of the stage, and the seconds of each step, per share."""
    shares = os.environ.get("CLINFUSE_BENCH_SHARE", "0.01").split(",")
    return [row for share in shares for row in _measured(float(share))]


def write_full_size(folder: Path, share: float, seed: int = 7) -> dict[str, int]:
    """Write that share of a source of MIMIC-IV 2.2's size; return the rows of each table.

    Notes pass as a stream; the tables without text are held one at a time (324 MiB at a tenth).
    """
    hospital, parts = Hospital.of(share, seed), note_parts(seed)
    counts = {}
    for name, table in hospital.tables():
        with _csv(folder, name) as file:
            pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False))
        counts[name] = table.num_rows
    for name, stream in (
        ("note/discharge", _discharge(hospital, parts, seed)),
        ("note/radiology", _radiology(hospital, parts, seed)),
    ):
        counts[name] = 0
        with _csv(folder, name) as file:
            for lines in stream:
                file.write(b"".join(lines))
                counts[name] += len(lines)
    return counts


def _csv(folder: Path, name: str) -> Any:
    """An open csv.gz with the table's header written."""
    path = folder / f"{name}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = igzip.open(path, "wb", compresslevel=1)
    file.write(COLUMNS[name].replace(" ", ",").encode() + b"\n")
    return file


def _discharge(hospital: Hospital, parts: NoteParts, seed: int) -> Iterator[list[bytes]]:
    random = np.random.default_rng(seed + 1)
    pools = (
        *(parts.heads, parts.labs, parts.findings, parts.courses, parts.paragraphs),
        *(parts.paragraphs, parts.paragraphs, parts.paragraphs, parts.medications),
        *(parts.endings, parts.advice),
    )
    key, end = b'%d-DS-%d,%d,%d,DS,%d,%b,%b,"', b'Followup Instructions:\n___\n"\n'
    for batch in hospital.noted(_ROWS_AT_ONCE):
        chosen = [_picked(pool, len(batch.subject), random) for pool in pools]
        lines = []
        for (subject, hadm, number, chart, stored), head, *rest in zip(
            batch.rows(), *chosen, strict=True
        ):
            ids = key % (subject, number, subject, hadm, number, chart, stored)
            lines.append(b"".join((ids, head, b"Specimen %d\n" % (hadm * 7), *rest, end)))
        yield lines


def _radiology(hospital: Hospital, parts: NoteParts, seed: int) -> Iterator[list[bytes]]:
    random = np.random.default_rng(seed + 2)
    key, more = b'%d-RR-%d,%d,%b,RR,%d,%b,%b,"', b"\n \nADDITIONAL FINDINGS (%d): \n"
    for batch in hospital.imaged(_ROWS_AT_ONCE):
        pools = (parts.reports, parts.findings)
        chosen = [_picked(pool, len(batch.subject), random) for pool in pools]
        lines = []
        for (subject, hadm, number, chart, stored), report, findings in zip(
            batch.rows(), *chosen, strict=True
        ):
            inside = b"%d" % hadm if hadm else b""
            ids = key % (subject, number, subject, inside, number, chart, stored)
            lines.append(b"".join((ids, report, more % (subject * 3 + number), findings, b'"\n')))
        yield lines


def _picked(pool: list[bytes], count: int, random: np.random.Generator) -> list[bytes]:
    return [pool[place] for place in random.integers(0, len(pool), count).tolist()]


def _measured(share: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("CLINFUSE_BENCH_FOLDER")) as folder:
        source = Path(folder) / "source"
        began = time.perf_counter()
        counts = write_full_size(source, share)
        written = time.perf_counter() - began
        environment = os.environ | {"PREFECT_HOME": f"{folder}/prefect", "DO_NOT_TRACK": "1"}
        command = [sys.executable, "-m", "tests.bench.full_size", str(source), f"{folder}/store"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the stage failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        stage = json.loads(done.stdout.splitlines()[-1])
        megabytes = sum(map(_unpacked_bytes, source.rglob("*.gz"))) / 1e6
    notes = counts["note/discharge"] + counts["note/radiology"]
    what = f"{share:.4g} of MIMIC-IV: {notes:,} notes, {megabytes:,.0f} MB"
    return [
        _row(f"{what}: written (3 s are the pools)", "MB/s", megabytes / written, 50.0, None),
        _row(f"{what}: ingest", "s", stage["seconds"], None, stage["peak_mib"]),
        _row(f"{what}: ingest", "MB/s", megabytes / stage["seconds"], None, stage["peak_mib"]),
        _row(f"{what}: its steps", "s", sum(s for _, s, _ in stage["steps"]), None, None),
        _row(f"{what}: peak", "MiB", stage["peak_mib"], _PEAK_GOAL_MIB, stage["peak_mib"]),
        *(
            _row(f"{share:.4g}: {name}", "s", seconds, None, peak)
            for name, seconds, peak in stage["steps"]
        ),
    ]


def _row(
    what: str, unit: str, ours: float, goal: float | None, peak: float | None
) -> dict[str, Any]:
    told = {"what": what, "unit": unit, "ours": ours, "goal": goal, "peak_mib": peak}
    return told | {"peer": None, "peer_name": None, "ratio": None}


def _unpacked_bytes(path: Path) -> int:
    with igzip.open(path, "rb") as file:
        return sum(len(block) for block in iter(lambda: file.read(1 << 22), b""))


def _run(source: str, store: str) -> dict[str, Any]:
    """Run the stage here; the peak is that of this process or of any that it started."""
    from flows.run import run
    from tasks.provenance import peak_mib
    from tasks.store import Store

    began = time.perf_counter()
    run(
        "ingest",
        Path(_CONFIG),
        overrides=[f"ingest.source={source}", "ingest.include_radiology=true"],
        store=Path(store),
    )
    seconds = time.perf_counter() - began
    made = Store(Path(store)).manifests()
    steps = [(f"{m.kind} {m.config.get('outcome', '')}", m.seconds, m.peak_mib) for m in made]
    return {"seconds": seconds, "peak_mib": peak_mib(), "steps": steps}


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], sys.argv[2])))
