"""`clinfuse export` of a member that a run trained, and what others' programs make of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.export.conftest import run_alone
from tests.flows.conftest import World
from tests.flows.test_chain import newest

LOADS = """
import json
from transformers import pipeline

classify = pipeline("text-classification", "exported/merged", trust_remote_code=True, top_k=None)
notes = json.load(open("notes.json"))
order = list(classify.model.config.id2label.values())
scores = classify(notes, function_to_apply="none")
logits = [[{row["label"]: row["score"] for row in rows}[name] for name in order] for rows in scores]
chances = [sum(row["score"] for row in rows) for rows in classify(notes)]
json.dump({"logits": logits, "chances": chances}, open("answer.json", "w"))
"""


@pytest.mark.slow
def test_a_member_of_a_run_is_exported_by_its_key(world: World, tmp_path: Path) -> None:
    """Its logits are the run's own predictions of the same notes."""
    members = [each for each in world.store.manifests() if each.kind == "task-adapter"]
    fused = next(each for each in members if each.counts["member"] == "fused")
    name, out = f"task-adapter/{fused.key[:8]}", tmp_path / "exported"
    done = world.clinfuse("export", name, str(out), "--outcome", "length_of_stay")
    assert "fused/: one LoRA of rank 8" in done.stdout
    files = ["README.md", "adapters", "fused", "merged"]
    assert sorted(path.name for path in out.iterdir()) == files
    for adapter in ("clinical", "task"):
        assert (out / "adapters" / adapter / "adapter_model.safetensors").is_file()
    card = (out / "README.md").read_text()
    assert f"task-adapter/{fused.key}" in card
    assert "| on test | macro AUROC 0." in card
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    predicted = next(
        path
        for path in world.store.root.glob("predictions/*/fused/length_of_stay/test.parquet")
        if any(made.key == fused.key for made in _inputs(world, path))
    )
    rows = pq.read_table(predicted).to_pylist()[:5]
    admissions = pq.read_table(newest(world, "cohort") / "admissions", columns=["hadm_id", "note"])
    notes = dict(zip(*admissions.to_pydict().values(), strict=True))
    (tmp_path / "notes.json").write_text(json.dumps([notes[row["hadm_id"]] for row in rows]))
    run_alone(LOADS, tmp_path)
    answer = json.loads((tmp_path / "answer.json").read_text())
    np.testing.assert_allclose(answer["logits"], [row["logits"] for row in rows], atol=1e-4)
    np.testing.assert_allclose(answer["chances"], 1, atol=1e-4)


def _inputs(world: World, prediction: Path) -> tuple[object, ...]:
    manifest = world.store.manifest("predictions", prediction.parents[2].name)
    assert manifest is not None
    return manifest.inputs
