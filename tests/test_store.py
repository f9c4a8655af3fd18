"""An artifact is there whole or not at all, and a store survives being moved, killed and swept."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreError
from tasks.garbage import garbage, sweep
from tasks.inspection import GONE, damaged, lineage, resolve
from tasks.keys import Artifact
from tasks.runs import Run
from tasks.store import Store

FACTS: dict[str, Any] = {
    "version": 1,
    "config": {},
    "inputs": [],
    "counts": {"rows": 1},
    "created": "2026-01-01T00:00:00+00:00",
    "seconds": 0.1,
    "peak_mib": 1.0,
    "packages": {},
    "git_commit": None,
    "host": "here",
    "flow_run_id": None,
    "task_run_id": None,
}


def make(store: Store, key: str, text: str = "x", **facts: Any) -> Artifact:
    out = store.fresh("notes", key)
    (out / "notes").mkdir()
    (out / "notes" / "part-0.txt").write_text(text)
    return store.commit(out, {**FACTS, "kind": "notes", "key": key, **facts})


def test_a_committed_artifact_is_found_and_an_unfinished_one_is_not(store: Store) -> None:
    out = store.fresh("notes", "k")
    (out / "part").write_text("half")
    assert store.find("notes", "k") is None
    made = make(store, "k")
    assert store.find("notes", "k") == made
    assert not (store.path("notes", "k") / "part").exists()


def test_a_lost_or_truncated_file_is_a_miss(store: Store) -> None:
    make(store, "k", "long text")
    part = store.path("notes", "k") / "notes" / "part-0.txt"
    part.write_text("long")
    assert store.find("notes", "k") is None
    part.unlink()
    assert store.find("notes", "k") is None


def test_equal_bytes_have_equal_digests_whatever_the_history_says(store: Store) -> None:
    digests = set()
    for key, history in (("k1", "took 3 s"), ("k2", "took 5 s")):
        out = store.fresh("adapter", key)
        (out / "weights").write_text("w")
        (out / "history.parquet").parent.mkdir(exist_ok=True)
        (out / "history.parquet").write_bytes(_parquet(history))
        digests.add(store.commit(out, {**FACTS, "kind": "adapter", "key": key}).digest)
    assert len(digests) == 1
    assert make(store, "a", "x").digest != make(store, "b", "y").digest


def _parquet(text: str) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [text]}), sink)
    return sink.getvalue()


def test_scratch_outlives_an_interruption_but_not_the_commit(store: Store) -> None:
    out = store.fresh("adapter", "k", resume=True)
    (out / "work").mkdir()
    (out / "work" / "checkpoint").write_text("step 10")
    (out / "half-written").write_text("?")
    again = store.fresh("adapter", "k", resume=True)
    assert [path.name for path in again.iterdir()] == ["work"]
    store.commit(again, {**FACTS, "kind": "adapter", "key": "k"})
    assert not (store.path("adapter", "k") / "work").exists()


def test_a_refresh_replaces_the_whole_directory(store: Store) -> None:
    make(store, "k", "old")
    (store.path("notes", "k") / "stray").write_text("?")
    make(store, "k", "new")
    path = store.path("notes", "k")
    assert (path / "notes" / "part-0.txt").read_text() == "new"
    assert not (path / "stray").exists()


def test_a_moved_store_works(store: Store, tmp_path: Path) -> None:
    made = make(store, "k")
    shutil.move(store.root, tmp_path / "elsewhere")
    assert Store(tmp_path / "elsewhere").find("notes", "k") == made


def test_a_new_store_is_private_and_an_existing_mode_is_kept(tmp_path: Path) -> None:
    assert Store(tmp_path / "one").root.stat().st_mode & 0o7777 == 0o700
    assert Store(tmp_path / "two", group=True).root.stat().st_mode & 0o7777 == 0o2770
    (tmp_path / "three").mkdir(mode=0o750)
    assert Store(tmp_path / "three").root.stat().st_mode & 0o7777 == 0o750


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written.*--store"):
        Store(tmp_path / "file" / "store")


def _hold(root: Path, ready: Any) -> None:
    with Store(root).lock("notes", "k"):
        ready.set()
        time.sleep(60)


def test_the_kernel_frees_a_lock_when_its_holder_is_killed(store: Store) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    holder = spawn.Process(target=_hold, args=(store.root, ready))
    holder.start()
    assert ready.wait(30)
    waited: list[bool] = []

    def kill() -> None:
        waited.append(True)
        os.kill(holder.pid or 0, signal.SIGKILL)

    with store.lock("notes", "k", waiting=kill):
        assert waited == [True]
    holder.join()


def test_reading_a_vanished_artifact_says_so(store: Store) -> None:
    made = make(store, "k")
    shutil.rmtree(store.path("notes", "k"))
    with pytest.raises(StoreError, match="notes/k is gone"), store.reading([made]):
        pass


def test_verify_finds_a_flipped_byte(store: Store) -> None:
    make(store, "k", "abc")
    assert damaged(store.path("notes", "k")) == []
    (store.path("notes", "k") / "notes" / "part-0.txt").write_text("abd")
    assert [problem.name for problem in damaged(store.path("notes", "k"))] == ["notes/part-0.txt"]


def test_lineage_says_what_is_gone(store: Store) -> None:
    source = make(store, "source")
    inputs = [{"kind": "notes", "key": "source", "digest": source.digest}]
    make(store, "made", "y", inputs=inputs)
    drawn = list(lineage(store, resolve(store, "made")))
    assert drawn == [(0, "notes/made", ""), (1, "notes/source", "")]
    shutil.rmtree(store.path("notes", "source"))
    assert list(lineage(store, resolve(store, "made")))[1] == (1, "notes/source", GONE)


def test_an_ambiguous_or_unknown_key_is_answered(store: Store) -> None:
    make(store, "abc1")
    make(store, "abc2", "y")
    with pytest.raises(StoreError, match="names 2 artifacts"):
        resolve(store, "abc")
    with pytest.raises(StoreError, match="no artifact 'zzz'"):
        resolve(store, "zzz")
    assert resolve(store, "notes/abc2").key == "abc2"


def test_gc_keeps_what_a_run_reached_and_what_it_was_made_from(store: Store) -> None:
    source = make(store, "source")
    inputs = [{"kind": "notes", "key": "source", "digest": source.digest}]
    reached = make(store, "reached", "y", inputs=inputs)
    make(store, "orphan", "z")
    run = Run(id="r", name="r", flow="f", deployment=None, started="2026", parameters={})
    run.reach(reached, "made", 1.0)
    run.save(store.root)
    with store.lock("notes", "orphan"):
        pass
    pieces = garbage(store, keep_runs=1, older_than_days=0)
    assert [piece.what for piece in pieces] == ["notes/orphan"]
    assert garbage(store, keep_runs=1, older_than_days=1) == []
    with store.lock("notes", "orphan", shared=True):
        assert sweep(store, pieces) == []
    assert [piece.what for piece in sweep(store, pieces)] == ["notes/orphan"]
    assert store.find("notes", "orphan") is None
    assert store.find("notes", "source") == source
