"""The memory audit as a user runs it: an adapter of its own, a page, and no word of a note."""

from __future__ import annotations

import pyarrow.parquet as pq

from tasks.runs import load_runs
from tests.flows.conftest import World
from tests.flows.planted import RARE, WORDS

SMALL = ("memory.training_patients=20", "memory.scored_patients=20")


def test_the_audit_trains_an_adapter_of_its_own_and_says_what_it_remembers(world: World) -> None:
    chain = load_runs(world.store.root)[0]  # other tests may have run the audit since
    shipped = {each.key for each in chain.artifacts if each.kind == "clinical-adapter"}
    given = [part for override in SMALL for part in ("--set", override)]
    done = world.clinfuse("audit", "memory", str(world.config), *given)
    assert "exposure, planted 16 x" in done.stdout
    reached = load_runs(world.store.root)[-1].artifacts
    adapters = {each.key for each in reached if each.kind == "clinical-adapter"}
    assert len(adapters) == 1
    assert not adapters & shipped
    [key] = [each.key for each in reached if each.kind == "memory"]
    folder = world.store.path("memory", key)
    page = (folder / "memory.md").read_text()
    assert "among 10,000 numbers" in page
    rows = pq.read_table(folder / "memory").to_pylist()
    assert [row["repeats"] for row in rows if row["repeats"]] == [1, 1, 4, 4, 16, 16]
    assert all(row["n"] == 100 for row in rows if row["repeats"])
    for word in (*WORDS, RARE, RARE.lower()):
        assert word not in page + done.stdout + done.stderr
