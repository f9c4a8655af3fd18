"""A made-up run's story, as the report, the card and the checklist are given it."""

from __future__ import annotations

from typing import Any

from tasks.evaluate.measuring import Work, write_metrics
from tasks.report.config import Lineage, Origin
from tasks.report.facts import Making, read_arms, read_cohort, read_labels
from tasks.report.findings import Findings
from tasks.report.story import Story
from tests.evaluate.made_up import MadeUp
from tests.report.made_up_rows import findings_of

SECRET_HOST, SECRET_PATH = "ward-7-workstation", "/home/dr.secret/mimic"
SETTINGS: dict[str, Any] = {
    "name": "made-up",
    "ingest": {
        "source": SECRET_PATH,
        "split": {"method": "hash"},
        "view": {"kind": "admission"},
        "outcomes": [
            {"kind": "diagnoses", "name": "diagnoses", "icd_versions": "both", "min_count": 5},
            {"kind": "mortality", "name": "mortality", "predict_at": 24},
        ],
    },
    "pretrain": {
        "base": {"kind": "path", "path": SECRET_PATH},
        "adapter": {"rank": 16, "targets": ["q_proj", "v_proj"]},
    },
    "finetune": {"epochs": 3, "joint": True, "max_tokens": 77, "adapter": {"rank": 8}},
}


def measure(run: MadeUp) -> None:
    work = Work(run.cohort, run.outcomes, run.artifacts, run.perplexity)
    write_metrics(run.folder, work, run="made-up", seed=1)


def tell(run: MadeUp, rows: list[dict[str, Any]] | None = None, **changed: Any) -> Story:
    """The story of a measured run; `rows` are added to its metrics, `changed` replaces parts."""
    findings = Findings.read(run.folder)
    given: dict[str, Any] = {
        "run": "made-up",
        "findings": findings_of([*findings.rows, *(rows or [])]),
        "cohort": read_cohort(run.cohort),
        "labels": read_labels(run.outcomes),
        "arms": read_arms(
            {title: (path,) for title, path in run.histories.items()}, findings.records
        ),
        "curves": run.folder / "curves.parquet",
        "difficulty": {},
        "quality": [],
        "contamination": {
            "test_characters": 7654,
            "test_characters_seen_unguarded": 77,
            "test_characters_seen": 0,
            "dropped": 3,
        },
        "leaks": (),
        "settings": SETTINGS,
        "lineage": Lineage(artifacts=origins()),
        "smallest_cell": 10,
        "synthetic": False,
        "made": Making("2026-11-26 14:05 UTC", "0.9.1", "0123456789ab"),
    }
    return Story(**(given | changed))


def origins() -> tuple[Origin, ...]:
    made: list[tuple[str, float, dict[str, Any]]] = [
        ("tokenizer", 1.0, {}),
        ("corpus", 1.0, {"documents": 900, "tokens": 50_000, "patients": 0}),  # of plain text
        ("corpus", 2.0, {"documents": 4321, "tokens": 987_654, "patients": 321}),
        ("base", 50.0, {}),
        ("clinical-adapter", 81.6, {"trained_parameters": 105_472}),
        ("encoded", 1.0, {"admissions": 400, "notes_cut": 187}),
        ("task-adapter", 7200.0, {"member": "fused", "parameters": 92_572}),
    ]
    return tuple(
        Origin(
            kind=kind,
            key=f"{number:016x}",
            digest=f"{number:064x}",
            counts=counts,
            took_seconds=seconds,
            peak_mib=877.8,
            created="2026-11-21T11:51:47.701192+00:00",
            packages={"torch": "2.13.0", "peft": "0.21.2" if number else "0.21.1"},
            git_commit="0123456789abcdef" * 2,
            cores=16,
            gpus=("NVIDIA H200",) * 2 if "adapter" in kind else (),
        )
        for number, (kind, seconds, counts) in enumerate(made)
    )


def metric(name: str, outcome: str, value: float, **given: Any) -> dict[str, Any]:
    """A metrics row of the fused model over an outcome's labels."""
    row = {"metric": name, "variant": "fused", "against": None, "outcome": outcome, "value": value}
    rest = {
        "method": "made up",
        "code_system": None,
        "code": None,
        "group": "all",
        "low": None,
        "high": None,
    }
    return {**rest, "n": 100, "n_patients": 60, "positives": 30, **row, **given}
