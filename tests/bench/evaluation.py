"""The whole evaluation, from predictions on disk to metrics and report, at a size beyond the field.

7,000 labels x 50,000 test admissions are all ICD-10-CM codes of a test split five times the
paper's. CLINFUSE_BENCH_SHARE makes it smaller ("0.1": a tenth of the admissions).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks import schemas, tables
from tasks.variants import Variant, write_variant
from tests.bench._memory import high_water_mib

LABELS, TEST, VALIDATION, PER_PATIENT = 7_000, 50_000, 10_000, 1.8
CODES_AN_ADMISSION = 12
ROWS_AT_ONCE = 1_000
_GOALS = {"metrics": (120.0, 8192), "report": (60.0, 8192)}


def rows() -> list[dict[str, Any]]:
    """Seconds and peak memory of the metrics, then of the report, each in a process of its own."""
    share = float(os.environ.get("CLINFUSE_BENCH_SHARE", "1"))
    test, validation = round(TEST * share), round(VALIDATION * share)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_run(folder, test, validation)
        return [
            _row(folder, stage, f"{stage} of {LABELS:,} labels x {test:,} admissions")
            for stage in _GOALS
        ]


def write_run(folder: Path, test: int, validation: int, seed: int = 0) -> None:
    """Write a cohort, an outcome of LABELS codes and one variant's predictions, as a run would."""
    random = np.random.default_rng(seed)
    total = test + validation
    admissions = np.arange(total) + 20_000_000
    split = np.repeat(["test", "validation"], [test, validation])
    _write_cohort(folder / "cohort", admissions, split, random)
    frequency = 1.0 / (np.arange(LABELS) + 5.0)
    frequency *= CODES_AN_ADMISSION / frequency.sum()
    lists = [
        np.unique(drawn).astype(np.int32)
        for drawn in np.split(
            random.choice(LABELS, total * CODES_AN_ADMISSION, p=frequency / frequency.sum()), total
        )
    ]
    _write_outcome(folder / "outcome", admissions, split, lists, frequency)
    variant = Variant(name="fused", member="fused")
    write_variant(folder / "predictions" / variant.name, variant)
    for name, first, count in (("test", 0, test), ("validation", test, validation)):
        place = folder / "predictions" / "fused" / "diagnoses" / f"{name}.parquet"
        batches = _logits(admissions, lists, first, count, frequency, random)
        tables.write(place, schemas.predictions(LABELS), batches)


def measure_stage(stage: str, folder: Path) -> None:
    """Do one stage in this process, and print its seconds and the process's peak in MiB."""
    began = time.perf_counter()
    if stage == "metrics":
        from tasks.evaluate.measuring import Work, write_metrics

        outcome = {"diagnoses": folder / "outcome"}
        work = Work(folder / "cohort", outcome, (folder / "predictions",))
        write_metrics(folder, work, run="large", seed=0)
    else:
        _write_report(folder)
    print(time.perf_counter() - began, high_water_mib())


def _row(folder: Path, stage: str, what: str) -> dict[str, Any]:
    program = (
        "import sys; from pathlib import Path; from tests.bench.evaluation import measure_stage; "
        "measure_stage(sys.argv[1], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, stage, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, peak = map(float, done.stdout.split()[-2:])
    goal, most = _GOALS[stage]
    return {
        "what": what,
        "unit": "s",
        "ours": seconds,
        "peer": None,
        "peer_name": f"at most {most} MiB",
        "ratio": None,
        "goal": goal,
        "peak_mib": round(peak),
    }


def _write_report(folder: Path) -> None:
    from tasks.report.config import Lineage
    from tasks.report.facts import Making, read_cohort, read_labels
    from tasks.report.findings import Findings
    from tasks.report.page import write_report
    from tasks.report.story import Story

    story = Story(
        run="large",
        findings=Findings.read(folder),
        cohort=read_cohort(folder / "cohort"),
        labels=read_labels({"diagnoses": folder / "outcome"}),
        arms=(),
        curves=folder / "curves.parquet",
        difficulty={},
        quality=(),
        contamination={},
        leaks=(),
        settings={},
        lineage=Lineage(),
        made=Making(),
        smallest_cell=10,
        synthetic=False,
    )
    write_report(folder, story)


def _write_cohort(
    place: Path, admissions: np.ndarray, split: np.ndarray, random: np.random.Generator
) -> None:
    n = len(admissions)
    patients = np.sort(random.integers(0, int(n / PER_PATIENT), n)) + 10_000_000
    columns = {
        "hadm_id": admissions,
        "subject_id": np.where(split == "test", patients, patients + 10_000_000),
        "split": split,
        "admittime": pa.nulls(n, pa.timestamp("us")),
        "dischtime": pa.nulls(n, pa.timestamp("us")),
        "age": random.integers(18, 92, n).astype(np.int32),
        "sex": random.choice(["F", "M"], n),
        "race": random.choice(["WHITE", "BLACK", "ASIAN", "OTHER"], n),
        "insurance": random.choice(["Medicare", "Medicaid", "Other"], n),
        "language": random.choice(["ENGLISH", "?"], n),
        "admission_type": random.choice(["URGENT", "EW EMER.", "ELECTIVE"], n),
        "note": pa.array(["a note"] * n, pa.large_string()),
    }
    table = pa.table(columns).cast(schemas.ADMISSIONS)
    tables.write(place / "admissions" / "part-0.parquet", schemas.ADMISSIONS, table)
    nobody = schemas.EXCLUSIONS.empty_table()
    tables.write(place / "exclusions" / "part-0.parquet", schemas.EXCLUSIONS, nobody)


def _write_outcome(
    place: Path,
    admissions: np.ndarray,
    split: np.ndarray,
    lists: list[np.ndarray],
    frequency: np.ndarray,
) -> None:
    rows = {
        "hadm_id": admissions,
        "observed": [True] * len(admissions),
        "code_system": ["icd10cm"] * len(admissions),
        "labels": lists,
    }
    table = pa.Table.from_pydict(rows, schemas.OUTCOMES)
    tables.write(place / "outcomes" / "part-0.parquet", schemas.OUTCOMES, table)
    counts = {
        name: np.bincount(
            np.concatenate([lists[row] for row in np.flatnonzero(split == name)]), minlength=LABELS
        )
        for name in ("validation", "test")
    }
    labels = {
        "index": np.arange(LABELS),
        "code_system": ["icd10cm"] * LABELS,
        "code": [f"A{index:04}" for index in range(LABELS)],
        "title": [f"Condition number {index} of a long list" for index in range(LABELS)],
        "one_of": [False] * LABELS,
        "train": np.round(frequency * 250_000).astype(np.int64),
        **counts,
    }
    table = pa.Table.from_pydict(labels, schemas.LABELS)
    tables.write(place / "labels" / "part-0.parquet", schemas.LABELS, table)


def _logits(
    admissions: np.ndarray,
    lists: list[np.ndarray],
    first: int,
    count: int,
    frequency: np.ndarray,
    random: np.random.Generator,
) -> Iterator[pa.RecordBatch]:
    """Batches of logits: what the label's frequency says, noise, and more where it is true."""
    prior = np.log(np.minimum(frequency, 0.5)).astype(np.float32)
    schema = schemas.predictions(LABELS)
    for start in range(first, first + count, ROWS_AT_ONCE):
        rows = range(start, min(start + ROWS_AT_ONCE, first + count))
        values = random.standard_normal((len(rows), LABELS), np.float32) + prior
        for place, row in enumerate(rows):
            values[place, lists[row]] += 1.5
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), LABELS)
        ids = pa.array(admissions[rows.start : rows.stop])
        yield pa.RecordBatch.from_arrays([ids, column], schema=schema)
