"""An encoder through the whole chain: masked words, an ontology, a member beside both, a report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tasks.runs import load_runs
from tasks.store import Store
from tests.flows.conftest import World
from tests.pretrain.encoders import write_encoder

SUMMANDS = "[{adapter: clinical}, {adapter: ontology}]"
ALONE = "{name: alone, summands: []}"


def test_an_encoder_goes_through_the_whole_chain(world: World, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "base", with_output=True)
    store = tmp_path / "store"
    own = dataclasses.replace(
        world, store=Store(store), environment=world.environment | {"CLINFUSE_STORE": str(store)}
    )
    settings = (
        f"pretrain.base={{kind: path, path: {folder}}}",
        "pretrain.adapter.targets=all-linear",
        "pretrain.max_tokens=20000",
        "pretrain.ontology={steps: 3, span: 8, planted: 1, training: {batch_size: 4}}",
        f"finetune.members=[{{name: both, summands: {SUMMANDS}}}, {ALONE}]",
        "finetune.max_tokens=64",
        "ingest.outcomes=[{kind: diagnoses, min_count: 5}]",
    )
    arguments = [part for setting in settings for part in ("--set", setting)]
    own.clinfuse("run", str(own.config), *arguments)
    kinds = {artifact.kind for artifact in load_runs(store)[-1].artifacts}
    assert {"ontology", "clinical-adapter", "ontology-adapter", "task-adapter", "report"} <= kinds
    assert "base" not in kinds
    found = [manifest for manifest in own.store.manifests() if manifest.kind == "perplexity"]
    assert found[0].counts["layout"] == "masked words"
    (report,) = store.glob("report/*/report.md")
    assert "Perplexity of masked words" in report.read_text()
    for kind in ("clinical-adapter", "ontology-adapter"):
        (described,) = store.glob(f"{kind}/*/adapter_config.json")
        base = json.loads(described.read_text())["base_model_name_or_path"]
        assert base.startswith("sha256:")

    # what no member wants is not made; asked for alone, the stage makes the clinical adapter
    only = ("--set", f"finetune.members=[{ALONE}]")
    bare = dataclasses.replace(
        own, environment=own.environment | {"CLINFUSE_STORE": str(tmp_path / "bare")}
    )
    bare.clinfuse("run", str(bare.config), *arguments, *only)
    kinds = {artifact.kind for artifact in load_runs(tmp_path / "bare")[-1].artifacts}
    assert not {"corpus", "clinical-adapter", "ontology-adapter", "perplexity"} & kinds
    bare.clinfuse("run", str(bare.config), *arguments, *only, "--stage", "pretrain")
    kinds = {artifact.kind for artifact in load_runs(tmp_path / "bare")[-1].artifacts}
    assert "clinical-adapter" in kinds
    assert "ontology-adapter" not in kinds
