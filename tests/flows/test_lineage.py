"""A report's lineage: what each artifact's manifest says of its making, and no machine's name."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from prefect import flow

from flows.chain import lineage
from tasks.report.config import Lineage
from tasks.step import Counts, step
from tasks.store import Store


@step("counted", version=1)
def count(out: Path, number: int) -> Counts:
    (out / "number").write_text(str(number))
    return {"number": number}


@flow(persist_result=False, result_serializer="json")
def count_to_two() -> Lineage:
    for number in (1, 2):
        count(number=number)
    return lineage()


def test_the_lineage_tells_what_the_manifests_do(prefect_store: Store) -> None:
    first, again = count_to_two(), count_to_two()
    assert first == again, "a reused artifact is told of as it was made"
    for found in (first, again):
        assert [(each.kind, each.counts["number"]) for each in found.artifacts] == [
            ("counted", 1),
            ("counted", 2),
        ]
        for each in found.artifacts:
            manifest = prefect_store.manifest(each.kind, each.key)
            assert manifest
            assert each.digest == manifest.digest
            assert (each.took_seconds, each.created) == (manifest.seconds, manifest.created)
            assert each.packages["torch"]
            assert each.cores
    names = json.dumps(again.model_dump(mode="json"))
    assert platform.node() not in names.split('"')


def test_a_manifest_of_before_machines_were_described_is_still_read(prefect_store: Store) -> None:
    """Such a manifest had no checksum either."""
    made = count_to_two().artifacts[0]
    path = prefect_store.path(made.kind, made.key) / "manifest.json"
    old = json.loads(path.read_text())
    del old["cores"], old["gpus"], old["checksum"]
    path.write_text(json.dumps(old))
    again = count_to_two().artifacts[0]
    assert (again.cores, again.gpus) == (None, ())
