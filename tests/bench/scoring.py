"""Five outcomes of the same notes: one process of ours, and a process each that loads an export."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks import schemas, tables
from tasks.export.export import export
from tasks.store import Manifest, Store

FOLDER = Path("build/bench/scoring")
PATIENTS, MOST_NOTES = 500, 600
REPEATS = 3  # alternating; medians count
# Of a logit: they score the same, but that ours reads a frozen trunk's states rounded, as the heads
# were trained on them (in half precision), and what is exported does not.
TOLERANCE, TOLERANCE_OF_ROUNDED = 1e-4, 5e-2
OUTCOMES = ("diagnoses", "procedures", "mortality", "length_of_stay", "readmission")
BASE = {  # the demo's base, hardly trained
    **{"pretrain.base.hidden_size": 64, "pretrain.base.layers": 2, "pretrain.base.heads": 4},
    **{"pretrain.base.vocabulary_size": 2000, "pretrain.base.sequence_length": 256},
}
ADAPTERS = {
    "five task adapters on one base": "{kind: lora, rank: 16}",
    "five heads on one frozen trunk": "null",
}
RUN = {"finetune.joint": "false", "finetune.members": "[unfused]", "finetune.max_tokens": 256}


@dataclass(frozen=True)
class Told:
    """What a process said of the notes, and what that took."""

    clock_seconds: float  # with starting it
    work_seconds: float  # of the processor
    peak_mib: float
    logits: dict[str, Any]  # outcome -> [notes, labels]


def rows() -> list[dict[str, Any]]:
    """Train members, export each, and let both score the same notes in turn."""
    made = []
    for what, adapter in ADAPTERS.items():
        store, members = _members(adapter)
        notes = FOLDER / "notes.json"
        _write_notes(store, notes)
        exported = {outcome: _exported(store, key, outcome) for outcome, key in members.items()}
        ours, peers = [], []
        for _ in range(REPEATS):
            ours.append([_told("ours", notes, str(store.root), *members.values())])
            peers.append([_told("peer", notes, str(folder)) for folder in exported.values()])
        tolerance = TOLERANCE_OF_ROUNDED if adapter == "null" else TOLERANCE
        _check_same(ours[0][0], dict(zip(exported, peers[0], strict=True)), tolerance)
        for unit, of in (("s", "clock_seconds"), ("s of CPU", "work_seconds")):
            mine, theirs = (_median(runs, of) for runs in (ours, peers))
            made.append(
                {
                    "what": f"{what}, {len(json.loads(notes.read_text()))} notes",
                    "unit": unit,
                    "ours": mine,
                    "peer": theirs,
                    "peer_name": "transformers.pipeline, five runs",
                    "ratio": theirs / mine,
                    "goal": 3.0,
                    "peak_mib": round(ours[0][0].peak_mib),
                }
            )
    return made


def _median(runs: list[list[Told]], of: str) -> float:
    return statistics.median(sum(getattr(told, of) for told in run) for run in runs)


def _members(adapter: str) -> tuple[Store, dict[str, str]]:
    """A store with a member for each outcome; outcome -> key."""
    source = FOLDER / "synth"
    if not source.exists():
        _clinfuse("synth", str(source), "--patients", str(PATIENTS), "--seed", "5")
    config = yaml.safe_load(Path("tests/flows/tiny.yaml").read_text())
    config["ingest"]["source"] = str(source / "mimic")
    config["evaluate"]["truth"] = str(source / "truth.parquet")
    config["pretrain"]["base"]["corpus"] = str(source / "general.txt")
    path = FOLDER / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    settings = {**BASE, **RUN, "finetune.adapter": adapter}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    root = FOLDER / "store"
    _clinfuse("run", str(path), "--stage", "finetune", "--store", str(root), *sets)
    store = Store(root, read_only=True)
    found = [each for each in store.manifests() if each.kind == "task-adapter"]
    frozen = adapter == "null"
    mine = [each for each in found if _is_frozen(each) == frozen]
    keys = {next(iter(each.config["job"]["outcomes"])): each.key for each in mine}
    return store, {outcome: keys[outcome] for outcome in OUTCOMES}


def _is_frozen(manifest: Manifest) -> bool:
    return manifest.config["job"]["config"]["adapter"] is None


def _clinfuse(*arguments: str) -> None:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _exported(store: Store, key: str, outcome: str) -> Path:
    folder = FOLDER / f"exported-{key}"
    if not folder.exists():
        export(store, key, folder, outcome)
    return folder / "merged"


def _write_notes(store: Store, path: Path) -> None:
    [cohort] = (store.root / "cohort").iterdir()
    admissions = tables.read(cohort / "admissions", schemas.ADMISSIONS, ["note"])
    path.write_text(json.dumps(admissions["note"].to_pylist()[:MOST_NOTES]))


def _told(arm: str, notes: Path, *arguments: str) -> Told:
    """What a fresh process says, and what it takes from its start to its end."""
    answer = FOLDER / "answer.json"
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "tests.bench._scorings", arm, str(notes), str(answer)]
    subprocess.run([*command, *arguments], check=True, stderr=subprocess.DEVNULL)
    clock, after = time.perf_counter() - began, os.times()
    work = after.children_user + after.children_system
    work -= before.children_user + before.children_system
    told = json.loads(answer.read_text())
    return Told(clock, work, told["peak_mib"], told["logits"])


def _check_same(ours: Told, peers: dict[str, Told], tolerance: float) -> None:
    for outcome, told in peers.items():
        difference = np.abs(np.subtract(ours.logits[outcome], told.logits["peer"])).max()
        if difference > tolerance:
            raise AssertionError(f"{outcome}: logits differ by up to {difference:.2g}")
