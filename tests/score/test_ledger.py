"""A text is scored once a model, whatever fails in between, and one that comes late is scored."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from tasks import schemas, tables
from tasks.score import ledger, pending, run
from tasks.score.ledger import Ledger
from tasks.store import Store
from tests.finetune.test_train import one_rank
from tests.score.conftest import Members

ROOT = Path(__file__).parents[2]
CELL = ["hadm_id", "model", "outcome", "code_system", "code"]

# each child is killed at the next point of a commit; no torch is in this process
KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from tasks import schemas, tables
from tasks.score import ledger
from tasks.store import Store

root, left = Path(sys.argv[1]), 0
scores = pa.table({
    "hadm_id": [1], "admittime": [None], "model": ["m"], "outcome": ["o"], "code_system": ["s"],
    "code": ["c"], "probability": [0.5], "flagged": [True], "scored": [0],
}).cast(schemas.SCORES)
scored = pa.table({
    "hadm_id": [1], "text": [7], "model": ["m"], "digest": ["d"], "outcome": ["o"],
    "words": [3], "rare": [0.0], "sections": [[]],
}).cast(schemas.SCORED)

def dying(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

Store(root)
tables.write, ledger.sync = dying(tables.write), dying(ledger.sync)
Path.mkdir, Path.rename = dying(Path.mkdir), dying(Path.rename)
for point in range(40):
    left = point
    if (child := os.fork()) == 0:
        ledger.commit(root, root / ".making" / "scores", scores, scored)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    left = 10**9
    done = ledger.Ledger(root).by("m", "d", "o").tolist()
    parts = list((root / "scores").glob("date=*/batch-*/part-0.parquet"))
    assert len(done) == len(parts) <= 1, (point, done, parts)
    print(point, status, len(done))
    if done:
        break
"""


class Killed(BaseException):
    """As if by kill -9: nothing catches it, and nothing is cleaned up."""


class Dying:
    """Kills at the call after so many of the functions that it is put on."""

    NEVER = 10**9

    def __init__(self) -> None:
        self.left = self.NEVER

    def at(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return function(*arguments, **named)

        return call


def test_a_kill_at_any_point_of_a_commit_leaves_it_whole_or_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    points = [line.split() for line in done.stdout.splitlines()]
    assert len(points) > 6
    assert {status for _, status, _ in points[:-1]} == {"9"}
    assert points[-1][2] == "1"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST_NOTES", 7)


@pytest.fixture
def scored(members: Members) -> Members:
    """The members, of which no text has been scored."""
    shutil.rmtree(members.store.root / "scores", ignore_errors=True)
    return members


def all_scores(store: Store) -> pa.Table:
    """As a reader of the folder sees it."""
    table = ds.dataset(store.root / "scores", partitioning="hive").to_table()
    return table.sort_by([(name, "ascending") for name in CELL])


def score(members: Members, folder: Path, arrivals: pa.Table, *names: str, **more: Any) -> None:
    run.main(members.job(folder, arrivals, *names, **more), one_rank(folder / os.urandom(4).hex()))


def test_whatever_kills_it_each_text_is_scored_once(
    scored: Members, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = scored.notes("test").slice(0, 20)
    score(scored, tmp_path, arrivals, "fused", "died")
    expected = all_scores(scored.store)
    assert len(expected) == 20 * (4 + 1 + 1)
    shutil.rmtree(scored.store.root / "scores")
    job = scored.job(tmp_path, arrivals, "fused", "died")
    dying = Dying()
    for owner, name in ((ledger, "sync"), (Path, "rename"), (tables, "write")):
        monkeypatch.setattr(owner, name, dying.at(getattr(owner, name)))
    for point in range(1, 30):
        dying.left = point
        try:
            run.main(job, one_rank(tmp_path / f"run-{point}"))
            break
        except Killed:
            continue
    assert point > 4
    dying.left = Dying.NEVER
    found = all_scores(scored.store)
    assert found.select(CELL).equals(expected.select(CELL))
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-5)
    assert found["flagged"].equals(expected["flagged"])


def test_late_notes_new_models_and_other_outcomes_are_scored_and_nothing_twice(
    scored: Members, small: None, tmp_path: Path
) -> None:
    arrivals = scored.notes("test").slice(0, 9)
    score(scored, tmp_path, arrivals, "fused", outcomes=("mortality",))
    first = all_scores(scored.store)
    assert len(first) == 9
    # the next night: an older admission comes late, and a note is added to another
    late = scored.notes("validation").slice(0, 1)
    changed = (
        arrivals.slice(4, 1)
        .set_column(
            arrivals.schema.get_field_index("note"),
            "note",
            pa.array([arrivals["note"][4].as_py() + " collapse"], pa.large_string()),
        )
        .cast(schemas.ADMISSIONS)
    )
    tonight = pa.concat_tables([late, arrivals.slice(0, 4), changed, arrivals.slice(5)])
    score(scored, tmp_path, tonight, "fused", outcomes=("mortality",))
    second = all_scores(scored.store)
    new = pc.value_counts(second["hadm_id"]).to_pylist()
    twice = [each["values"] for each in new if each["counts"] == 2]
    assert twice == changed["hadm_id"].to_pylist()
    assert len(second) == 9 + 2
    assert late["hadm_id"][0].as_py() in second["hadm_id"].to_pylist()
    # another outcome of the same model, and another model
    score(scored, tmp_path, tonight, "fused", "died")
    third = all_scores(scored.store)
    assert len(third) == 11 + 10 * 4 + 10
    score(scored, tmp_path, tonight, "fused", "died")
    assert all_scores(scored.store).equals(third)


def test_a_model_that_was_made_anew_under_its_key_is_another_one(
    scored: Members, small: None, tmp_path: Path
) -> None:
    score(scored, tmp_path, scored.notes("test").slice(0, 3), "died")
    key = scored.keys["died"]
    digest = next(each.digest for each in scored.store.manifests() if each.key == key)
    known = Ledger(scored.store.root)
    assert len(known.by(key, digest, "mortality")) == 3
    assert len(known.by(key, "another", "mortality")) == 0


def test_files_have_the_mode_of_the_store(scored: Members, small: None, tmp_path: Path) -> None:
    score(scored, tmp_path, scored.notes("test").slice(0, 3), "died")
    folder = scored.store.root / "scores"
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    kinds = {path.parent.name for path in scored.store.folders()}
    assert "scores" not in kinds  # gc and verify look at artifacts alone
