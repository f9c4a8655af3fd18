"""`clinfuse score`, two nights: what is new, what drifts, and what nobody may read."""

from __future__ import annotations

import csv
import gzip
import logging
from pathlib import Path
from typing import Any, NoReturn

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
import yaml

from flows import score as flow
from tasks.errors import StepFailed
from tasks.score import steps
from tasks.store import Store
from tests.flows.conftest import World, api, on_the_server
from tests.flows.planted import WORDS, identifiers, plant
from tests.flows.test_canary import hits

pytestmark = pytest.mark.slow


def shorten(source: Path, every: int) -> int:
    """Leave of every so many notes the first lines of their history alone; how many that are."""
    path = source / "note" / "discharge.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    for row in rows[::every]:
        row[-1] = "Chief Complaint:\npain\n"
    with gzip.open(path, "wt", newline="", compresslevel=1) as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return len(rows[::every])


def last_state(world: World) -> str:
    runs = api(world, "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
    name: str = runs[0]["state_name"]
    return name


def test_two_nights(world: World, copied_store: Store, tmp_path: Path) -> None:
    new = tmp_path / "new"
    world.clinfuse("synth", str(new), "--patients", "40", "--seed", "12")
    source = new / "mimic"
    plant(source, every=3)
    config = tmp_path / "night.yaml"
    given = {"name": "night", "source": str(source), "run": "tiny", "members": ["fused"]}
    config.write_text(yaml.safe_dump({**given, "launch": {"ranks": 1, "accelerator": "cpu"}}))
    folder = ["--store", str(copied_store.root)]
    chosen = ["--set", "outcomes=[mortality,length_of_stay]"]

    first = world.clinfuse("score", str(config), *folder, *chosen)
    assert last_state(world) == "Completed"
    table = ds.dataset(copied_store.root / "scores", partitioning="hive").to_table()
    admissions = len(pc.unique(table["hadm_id"]))
    assert admissions > 30
    assert f"{2 * admissions} new scores of outcomes" in first.stdout
    of_outcomes = pc.value_counts(table["outcome"]).to_pylist()
    labels = {each["values"]: each["counts"] / admissions for each in of_outcomes}
    assert labels["mortality"] == 1
    assert labels["length_of_stay"] > 2
    members = [each for each in copied_store.manifests() if each.kind == "task-adapter"]
    [model] = pc.unique(table["model"]).to_pylist()
    assert model in {each.key for each in members if each.counts["member"] == "fused"}
    assert 0 < pc.min(table["probability"]).as_py() <= pc.max(table["probability"]).as_py() < 1

    changed = shorten(source, every=2)
    second = world.clinfuse("score", str(config), *folder, *chosen)
    assert f"{2 * changed} new scores of outcomes" in second.stdout
    assert "DRIFT of fused: words" in second.stdout
    assert last_state(world) == "Drifted"

    words = [*WORDS, *identifiers(source)]
    store = [path for path in copied_store.root.rglob("*") if path.suffix != ".parquet"]
    files = [path for path in (*store, *world.database.parent.rglob("*")) if path.is_file()]
    assert hits(files, words) == []
    for done in (first, second):
        assert not [word for word in words if word in done.stdout + done.stderr]


def test_a_failure_over_a_note_says_nothing_of_it(
    world: World,
    copied_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In either step, and where texts are scored."""
    words = [*WORDS, *identifiers(world.source)]

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise ValueError(f"could not convert {words}")

    config = tmp_path / "night.yaml"
    given = {"name": "night", "source": str(world.source), "run": "tiny"}
    config.write_text(yaml.safe_dump(given))
    places = (
        (steps.describe_training, "function", "reference"),
        (steps.list_arrivals, "function", "arrivals"),
        (flow, "launch", "score"),
    )
    for owner, name, kind in places:
        with monkeypatch.context() as patched, on_the_server(world, copied_store):
            patched.setattr(owner, name, fail)
            with (
                caplog.at_level(logging.DEBUG),
                pytest.raises(StepFailed, match=f"'{kind}' stopped with ValueError"),
            ):
                flow.score(preset=str(config))
    printed = capfd.readouterr()
    store = [path for path in copied_store.root.rglob("*") if path.suffix != ".parquet"]
    files = [path for path in (*store, *world.database.parent.rglob("*")) if path.is_file()]
    assert hits(files, words) == []
    assert not [word for word in words if word in caplog.text + printed.out + printed.err]
