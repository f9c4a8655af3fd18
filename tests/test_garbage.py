"""gc deletes what no kept run reached, and nothing else: not outside, not in use, not resumable."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreError
from tasks.garbage import garbage, sweep
from tasks.keys import Artifact
from tasks.runs import Reached, Run
from tasks.store import MANIFEST, RECORD, Store
from tests.test_store import make

DAY = 86400


def record(store: Store, name: str, *artifacts: Artifact, **fields: Any) -> Path:
    started = fields.pop("started", "2026-01-01T00:00:00+00:00")
    fields = {"flow": "f", "deployment": None} | fields
    run = Run(id=name, name=name, started=started, parameters={}, **fields)
    for artifact in artifacts:
        run.reach(artifact, "made", 1.0)
    run.save(store.root)
    return store.root / "runs" / f"{name}.json"


def age(path: Path, days: float = 30) -> None:
    """As if it and all in it had been written that long ago."""
    then = time.time() - days * DAY
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then), follow_symlinks=False)


def collect(store: Store, keep_runs: int = 10, older_than_days: float = 0) -> list[str]:
    """Delete what may go; what it was."""
    return [piece.what for piece in sweep(store, garbage(store, keep_runs, older_than_days))]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the store that must stay."""
    folder = tmp_path / "outside"
    (folder / "k").mkdir(parents=True)
    (folder / "k" / "precious").write_text("mine")
    return folder


def content(folder: Path) -> list[tuple[str, str]]:
    return [(str(path), path.read_text()) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_a_manifest_that_names_another_place_leads_nowhere(store: Store, outside: Path) -> None:
    make(store, "k")
    path = store.path("notes", "k") / MANIFEST
    for kind, key in ((str(outside), "k"), ("../outside", "k"), ("notes", "../../outside/k")):
        fields = json.loads(path.read_text()) | {"kind": kind, "key": key, "checksum": None}
        path.write_text(json.dumps(fields))
        before = content(outside)
        assert [piece.what for piece in garbage(store, 0, 0)] == [
            "notes/k, which has no manifest of its own"
        ]
    assert collect(store) == ["notes/k, which has no manifest of its own"]
    assert content(outside) == before
    assert not store.folders()


def test_files_that_a_manifest_names_elsewhere_stay(store: Store, outside: Path) -> None:
    make(store, "k")
    path = store.path("notes", "k") / MANIFEST
    fields = json.loads(path.read_text()) | {"checksum": None}
    fields["files"] = [
        {"name": name, "bytes": 4, "sha256": "0" * 64}
        for name in ("../../../outside/k/precious", str(outside / "k" / "precious"))
    ]
    path.write_text(json.dumps(fields))
    before = content(outside)
    assert len(collect(store)) == 1
    assert content(outside) == before


def test_of_a_copied_folder_the_copy_goes_and_the_original_stays(store: Store) -> None:
    made = make(store, "k")
    record(store, "r", made)
    shutil.copytree(store.path("notes", "k"), store.root / "notes" / "k.bak")
    assert collect(store) == ["notes/k.bak, which has no manifest of its own"]
    assert store.find("notes", "k") == made


def test_what_links_lead_to_stays(store: Store, outside: Path) -> None:
    make(store, "inside")
    (store.root / "report").symlink_to(outside)
    (store.root / "notes" / "k").symlink_to(outside / "k")
    (store.path("notes", "inside") / "link").symlink_to(outside)
    making = store.fresh("notes", "unfinished")
    (making / "link").symlink_to(outside)
    (store.root / ".making" / "link").symlink_to(outside)
    (store.root / ("0" * 32)).symlink_to(outside / "k" / "precious")
    before = content(outside)
    assert set(collect(store)) == {
        "notes/inside", "unfinished notes-unfinished", "unfinished link",
        "1 Prefect's records of failures",
    }  # fmt: skip
    assert content(outside) == before


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [(".making", True), (".locks", True), ("runs", False), (".fingerprints", False)],
)
def test_a_folder_of_the_store_that_is_a_link_is_not_looked_into(
    store: Store, outside: Path, name: str, is_refused: bool
) -> None:
    make(store, "k")
    shutil.rmtree(store.root / name, ignore_errors=True)
    (store.root / name).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(StoreError, match="is a link") if is_refused else nullcontext():
        assert collect(store) == ["notes/k"]
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "{", '{"kind": "notes"}', "\x00" * 100])
def test_an_artifact_whose_manifest_cannot_be_read_goes(store: Store, text: str) -> None:
    record(store, "r", make(store, "k"))
    (store.path("notes", "k") / MANIFEST).write_text(text)
    assert collect(store, older_than_days=1) == []
    assert collect(store) == ["notes/k, which has no manifest of its own"]


def test_what_is_left_of_an_artifact_goes_and_a_folder_of_the_users_stays(store: Store) -> None:
    lost = store.root / "notes" / "0123456789abcdef"
    lost.mkdir(parents=True)
    (lost / "part-0.parquet").write_text("x")
    recorded = store.root / "notes" / "only-a-record"
    recorded.mkdir()
    (recorded / RECORD).write_text("{}")
    users = store.root / "backup" / "of-2026"
    users.mkdir(parents=True)
    (users / "thesis.tex").write_text("mine")
    assert len(collect(store)) == 2
    assert [path.name for path in store.folders()] == ["of-2026"]


def test_a_checkpoint_written_this_minute_keeps_a_training_that_began_long_ago(
    store: Store,
) -> None:
    out = store.fresh("adapter", "k", resume=True)
    checkpoint = out / "work" / "checkpoints" / "clinical" / "step-00000100"
    checkpoint.mkdir(parents=True)
    age(out)
    (checkpoint / "model.pt").write_text("x")
    os.utime(checkpoint, (0, 0))  # the file alone tells
    assert collect(store, older_than_days=1) == []
    age(out)
    assert collect(store, older_than_days=1) == ["unfinished adapter-k"]


def test_what_is_written_while_gc_looks_stays(store: Store) -> None:
    out = store.fresh("adapter", "k", resume=True)
    age(out)
    make(store, "k")
    age(store.path("notes", "k"))
    pieces = garbage(store, 0, 1)
    assert len(pieces) == 2
    (out / "new").write_text("x")
    made = make(store, "k")
    assert sweep(store, pieces) == []
    assert store.find("notes", "k") == made


def test_what_a_step_holds_stays(store: Store) -> None:
    make(store, "k")
    store.fresh("adapter", "k")
    aside = store.root / ".making" / ".replaced-base-k"
    aside.mkdir()
    with store.lock("notes", "k", shared=True), store.lock("adapter", "k"), store.lock("base", "k"):
        assert collect(store) == []
    assert len(collect(store)) == 3
    assert list((store.root / ".making").iterdir()) == []


def test_nothing_is_left_of_what_was_deleted(store: Store) -> None:
    for number in range(3):
        with store.lock("notes", f"k{number}"):
            make(store, f"k{number}")
    with store.lock("notes", "gone"):
        pass
    kept = make(store, "kept")
    with store.lock("notes", "kept"):
        pass
    record(store, "r", kept)
    assert len(collect(store)) == 3
    assert [path.name for path in (store.root / ".locks").iterdir()] == ["notes-kept"]
    assert list((store.root / ".making").iterdir()) == []
    with store.lock("notes", "running"):
        collect(store)
        assert (store.root / ".locks" / "notes-running").exists()


def test_the_last_runs_are_those_that_began_last_whatever_their_clocks_said(store: Store) -> None:
    for name, started in (
        ("first", "2099-01-01T00:00:00+00:00"),
        ("second", "2026-01-01T00:00:00+00:00"),
        ("third", "1999-01-01T00:00:00+00:00"),
    ):
        record(store, name, make(store, name, name), started=started)
    assert "notes/first" in collect(store, keep_runs=2)
    assert {path.name for path in store.folders()} == {"second", "third"}


def test_each_deployment_keeps_its_last_runs_and_each_flow_of_the_terminal(store: Store) -> None:
    for number in range(3):
        for name, fields in (
            ("nightly", {"deployment": "id-of-nightly"}),
            ("monthly", {"deployment": "id-of-monthly"}),
            ("adapt", {"flow": "adapt"}),
            ("trial", {"flow": "trial"}),
        ):
            if name == "nightly" or number == 0:
                made = make(store, f"{name}-{number}", f"{name}-{number}")
                record(store, f"{name}-{number}", made, **fields)
    collect(store, keep_runs=1)
    kept = {path.name for path in store.folders()}
    assert kept == {"nightly-2", "monthly-0", "adapt-0", "trial-0"}


def test_a_run_that_names_odd_places_protects_nothing_and_harms_nothing(
    store: Store, outside: Path
) -> None:
    made = make(store, "k")
    path = record(store, "r", made)
    fields = json.loads(path.read_text())
    odd = [(str(outside), "k"), ("..", "outside"), ("", ""), ("notes", "."), (".making", "x\x1b")]
    fields["artifacts"] += [
        Reached(kind=kind, key=key, digest="", how="made", seconds=0).model_dump()
        for kind, key in odd
    ]
    path.write_text(json.dumps(fields))
    before = content(outside)
    assert collect(store) == []
    assert store.find("notes", "k") == made
    assert content(outside) == before


def test_records_go_once_nothing_that_their_run_made_is_left(store: Store) -> None:
    record(store, "maker", make(store, "k", flow_run_id="maker"))
    record(store, "reader")
    record(store, "last")
    (store.root / "runs" / ".last.1234").write_text("{")  # a save that was killed
    (store.root / "runs" / "torn.json").write_text("{")
    assert collect(store, keep_runs=1, older_than_days=1) == []
    age(store.root / "runs")
    assert collect(store, keep_runs=1, older_than_days=1) == ["3 records of runs"]
    left = sorted(path.name for path in (store.root / "runs").iterdir())
    assert left == ["last.json", "maker.json"]


def test_fingerprints_that_nobody_asked_for_in_a_while_are_forgotten(store: Store) -> None:
    from tasks.keys import Hashes

    hashes = Hashes(store.fingerprints)
    hashes.sha256(Path("/bin/sh"))
    hashes.sha256(Path("/bin/cat"))
    age(store.fingerprints)
    hashes.sha256(Path("/bin/sh"))
    assert collect(store, older_than_days=1) == ["1 fingerprints not asked for"]
    assert len(list(store.fingerprints.iterdir())) == 1


def test_a_store_that_cannot_be_written_is_looked_at_and_not_swept(store: Store) -> None:
    make(store, "k")
    readable = Store(store.root, read_only=True)
    before = sorted(store.root.rglob("*"))
    assert [piece.what for piece in garbage(readable, 0, 0)] == ["notes/k"]
    assert sorted(store.root.rglob("*")) == before
