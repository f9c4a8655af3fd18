"""An encoder through the whole chain: masked words, an ontology, a member beside both, a report."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from tasks.runs import load_runs
from tasks.store import Store
from tests.flows.conftest import World
from tests.pretrain.encoders import write_encoder

SUMMANDS = "[{adapter: clinical, weight: 0.5}, {adapter: ontology, weight: 2}]"
ALONE = "{name: alone, summands: []}"


def check_card(store: Path, base: Path, member: str, tolerance: float) -> None:
    """The code on the newest card loads a model that predicts what the member predicted."""
    path = max(store.glob("report/*/model-card.md"), key=lambda card: card.stat().st_mtime)
    code = "\n".join(re.findall("```python\n(.*?)```", path.read_text(), re.DOTALL))
    loaded: dict[str, Any] = {}
    exec(code.replace('"STORE"', repr(str(store))).replace('"BASE"', repr(str(base))), loaded)
    (encoded,) = store.glob("encoded/*/encoded")
    notes = pq.read_table(encoded).to_pylist()
    ids_of = {row["hadm_id"]: torch.tensor([row["input_ids"]]) for row in notes}
    (predicted,) = store.glob(f"predictions/*/{member}/diagnoses/test.parquet")
    for row in pq.read_table(predicted).to_pylist()[:5]:
        ids = ids_of[row["hadm_id"]]
        with torch.no_grad():
            logits = loaded["model"](ids, torch.ones_like(ids, dtype=torch.bool))["diagnoses"][0]
        np.testing.assert_allclose(logits, row["logits"], rtol=0, atol=tolerance)


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
    (report,) = store.glob("report/*/report.md")
    assert "The base's own output layer says what the words were" in report.read_text()
    for kind in ("clinical-adapter", "ontology-adapter"):
        (described,) = store.glob(f"{kind}/*/adapter_config.json")
        base = json.loads(described.read_text())["base_model_name_or_path"]
        assert base.startswith("sha256:")

    check_card(store, folder, "both", 1e-4)

    # on a frozen trunk, at a weight that validation chooses
    frozen = "{name: frozen, summands: [{adapter: ontology, weight: [0.5, 1]}]}"
    frozen_trunk = ("finetune.adapter=null", f"finetune.members=[{frozen}]")
    own.clinfuse("run", str(own.config), *arguments, *(f"--set={each}" for each in frozen_trunk))
    check_card(store, folder, "frozen", 0.1)  # kept states are computed in bf16

    # what no member wants is not made; asked for alone, the stage makes the clinical adapter
    only = ("--set", f"finetune.members=[{ALONE}]")
    bare = dataclasses.replace(
        own, environment=own.environment | {"CLINFUSE_STORE": str(tmp_path / "bare")}
    )
    bare.clinfuse("run", str(bare.config), *arguments, *only)
    kinds = {artifact.kind for artifact in load_runs(tmp_path / "bare")[-1].artifacts}
    assert not {"corpus", "clinical-adapter", "ontology-adapter", "perplexity"} & kinds
    headless = write_encoder(tmp_path / "headless", with_output=False)
    other = ("--set", f"pretrain.base={{kind: path, path: {headless}}}")
    bare.clinfuse("run", str(bare.config), *arguments, *other, *only, "--stage", "pretrain")
    kinds = {artifact.kind for artifact in load_runs(tmp_path / "bare")[-1].artifacts}
    assert {"clinical-adapter", "masked-output", "perplexity"} <= kinds
    assert "ontology-adapter" not in kinds
