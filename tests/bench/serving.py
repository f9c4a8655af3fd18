"""`clinfuse serve` under load, beside an unbatched handler; and many members on one base.

CLINFUSE_BENCH_SECONDS sets how long each server is under load (60), CLINFUSE_BENCH_REQUESTS over
how many requests its memory is watched (10000).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from tasks import schemas, tables
from tasks.export.export import export
from tasks.store import Manifest, Store

FOLDER = Path("build/bench/serving")
SECONDS = os.environ.get("CLINFUSE_BENCH_SECONDS", "60")
REQUESTS = os.environ.get("CLINFUSE_BENCH_REQUESTS", "10000")
WARMING = 200  # requests, before anything is measured
MEMBERS = 25
PATIENTS = 500
NOTES = 600
LORA = "[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, embed_tokens]"
DEMO = {  # configs/demo.yaml's model, hardly trained
    "pretrain.base.hidden_size": 64,
    "pretrain.base.layers": 2,
    "pretrain.base.heads": 4,
    "pretrain.base.vocabulary_size": 2000,
    "pretrain.base.sequence_length": 256,
    "pretrain.adapter.rank": 16,
    "finetune.adapter": f"{{kind: lora, rank: 16, targets: {LORA}}}",
    "finetune.head": "{kind: label_attention}",
    "finetune.members": "[fused]",
    "finetune.max_tokens": 256,
}
LARGER = DEMO | {  # 26 million parameters, 104 MB
    "pretrain.base.hidden_size": 512,
    "pretrain.base.layers": 8,
    "pretrain.base.heads": 8,
    "pretrain.base.epochs": 0.002,
    "pretrain.max_tokens": 4000,
    "pretrain.perplexity_patients": 2,
    "ingest.outcomes": "[{kind: mortality}]",
    "finetune.max_labelled_admissions": 40,
    "finetune.max_tokens": 32,
}
Row = dict[str, Any]


def rows() -> list[Row]:
    """Train a member, serve it and its peers in turn, and hold 25 members in one process."""
    return [*_under_load(), *_many_members()]


def _under_load() -> Iterator[Row]:
    store, member = _trained("demo", DEMO)
    notes = FOLDER / "notes.json"
    _write_notes(store, notes)
    outcomes = sorted(member.config["job"]["outcomes"])
    exported = [f"{name}={_exported(store, member.key, name)}" for name in outcomes]
    binary = [each for each in exported if not each.startswith("length_of_stay=")]
    asked = [each.partition("=")[0] for each in binary]
    command = [sys.executable, "-m", "flows.cli", "serve", "--store", str(store.root)]
    arms = {
        "ours": [*command, "--member", member.key, "--port", "0", "--device", "cpu"],
        "our scorer, unbatched": [*_UNBATCHED, "ours", str(store.root), member.key],
        "transformers, unbatched": [*_UNBATCHED, "exported", *binary],
    }
    told = {}
    for name, arm in arms.items():
        with _server(arm) as url:
            _load(url, notes, 0, WARMING, asked)
            told[name] = _load(url, notes, SECONDS, 0, asked)
            if name == "ours":
                flat = _flatness(url, notes, asked)
    ours = told.pop("ours")
    for name, peer in told.items():
        throughput = ours["requests"] / ours["seconds"], peer["requests"] / peer["seconds"]
        row = {"what": "requests a second, 16 clients", "unit": "1/s", "peer_name": name}
        ratio = throughput[0] / throughput[1]
        yield row | {"ours": throughput[0], "peer": throughput[1], "ratio": ratio, "goal": 3.0}
        for what in ("p50", "p95"):
            row = {"what": f"latency, {what}", "unit": "ms", "peer_name": name}
            ratio = peer[what] / ours[what]
            yield row | {"ours": ours[what], "peer": peer[what], "ratio": ratio, "goal": None}
    failures = {"what": f"failures of {ours['requests']:,} requests", "unit": ""}
    yield failures | {"ours": ours["failures"], "goal": 0}
    yield flat


_UNBATCHED = [sys.executable, "-m", "tests.bench._unbatched"]


def _flatness(url: str, notes: Path, outcomes: Sequence[str]) -> Row:
    """How the server's memory grows once it is warm."""
    before = _resident_mib(url)
    told = _load(url, notes, 0, REQUESTS, outcomes)
    after = _resident_mib(url)
    return {
        "what": f"memory's growth over {told['requests']:,} requests",
        "unit": "MiB",
        "ours": after - before,
        "goal": 10,
        "peak_mib": round(after),
    }


def _many_members() -> Iterator[Row]:
    store, member = _trained("larger", LARGER)
    keys = list(_copies(store, member))
    exported = _exported(store, member.key, "mortality")
    ours = _told("_held", "ours", store.root, *keys)
    peer = _told("_held", "separate", MEMBERS, exported)
    added = [each["after"] - each["before"] for each in (ours, peer)]
    yield {
        "what": f"{MEMBERS} members on a base of 26 million parameters",
        "unit": "MiB",
        "ours": added[0],
        "peer": added[1],
        "peer_name": f"{MEMBERS} merged models",
        "ratio": added[1] / added[0],
        "goal": None,
        "peak_mib": round(ours["after"]),
    }


def _copies(store: Store, member: Manifest) -> Iterator[str]:
    """The member under as many keys, each loaded for itself."""
    folder = store.path(member.kind, member.key)
    for number in range(MEMBERS):
        key = f"{number:016x}"
        copy = folder.with_name(key)
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        path = copy / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"key": key, "checksum": None}))
        yield key


def _trained(name: str, settings: dict[str, Any]) -> tuple[Store, Manifest]:
    """A store with one member."""
    source, root = FOLDER / "synth", FOLDER / f"store-{name}"
    if not source.exists():
        _clinfuse("synth", str(source), "--patients", str(PATIENTS), "--seed", "5")
    config = yaml.safe_load(Path("tests/flows/tiny.yaml").read_text())
    config["ingest"]["source"] = str(source / "mimic")
    config["evaluate"]["truth"] = str(source / "truth.parquet")
    config["pretrain"]["base"]["corpus"] = str(source / "general.txt")
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    _clinfuse("run", str(path), "--stage", "finetune", "--store", str(root), *sets)
    store = Store(root, read_only=True)
    made = (each for each in store.manifests() if each.kind == "task-adapter")
    return store, next(each for each in made if each.counts["member"] == "fused")


def _clinfuse(*arguments: str) -> None:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _exported(store: Store, key: str, outcome: str) -> Path:
    folder = FOLDER / f"exported-{key}-{outcome}"
    if not folder.exists():
        export(store, key, folder, outcome)
    return folder / "merged"


def _write_notes(store: Store, path: Path) -> None:
    [cohort] = (store.root / "cohort").iterdir()
    admissions = tables.read(cohort / "admissions", schemas.ADMISSIONS, ["note"])
    path.write_text(json.dumps(admissions["note"].to_pylist()[:NOTES]))


@contextmanager
def _server(command: Sequence[str]) -> Iterator[str]:
    """Its address, once it has said it."""
    log = FOLDER / "server.log"
    with log.open("w") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            if "http://" not in line:
                raise AssertionError(f"no server: {log} says why")
            yield "http://" + line.partition("http://")[2].split()[0]
        finally:
            server.terminate()
            server.wait(60)


def _load(
    url: str, notes: Path, seconds: float | str, requests: float | str, outcomes: Sequence[str]
) -> dict[str, Any]:
    time.sleep(0.5)
    return _told("_load", url, notes, seconds, requests, "", *outcomes)


def _told(program: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.bench.{program}", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _resident_mib(url: str) -> float:
    page = urlopen(f"{url}/metrics").read().decode()
    [line] = (line for line in page.splitlines() if line.startswith("process_resident"))
    return float(line.split()[1]) / 2**20
