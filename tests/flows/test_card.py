"""What the model card says of loading and merging works on what a run left."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tasks.model.adapters.build import language_model
from tasks.model.bases.causal import trunk
from tests.flows.conftest import World
from tests.flows.test_chain import newest


@pytest.fixture(scope="module")
def loaded(world: World) -> dict[str, Any]:
    """The variables that the card's code leaves."""
    card = (newest(world, "report") / "model-card.md").read_text()
    code = "\n".join(re.findall("```python\n(.*?)```", card, re.DOTALL))
    found: dict[str, Any] = {}
    exec(code.replace('"STORE"', repr(str(world.store.root))), found)
    return found


@pytest.fixture(scope="module")
def notes(world: World) -> dict[int, torch.Tensor]:
    """The token ids of some admissions of the test split."""
    rows = pq.read_table(newest(world, "encoded") / "encoded").to_pylist()
    chosen = [row for row in rows if row["split"] == "test" and row["input_ids"]][:8]
    return {row["hadm_id"]: torch.tensor([row["input_ids"]]) for row in chosen}


@torch.no_grad()
def test_the_loaded_model_predicts_what_the_run_predicted(
    world: World, loaded: dict[str, Any], notes: dict[int, torch.Tensor]
) -> None:
    (folder,) = world.store.root.glob("predictions/*/fused")
    for outcome in ("diagnoses", "mortality"):
        rows = pq.read_table(folder / outcome / "test.parquet").to_pylist()
        expected = {row["hadm_id"]: row["logits"] for row in rows}
        for hadm_id, ids in notes.items():
            logits = loaded["model"](ids, torch.ones_like(ids, dtype=torch.bool))[outcome][0]
            np.testing.assert_allclose(logits, expected[hadm_id], rtol=0, atol=1e-4)


@torch.no_grad()
def test_peft_loads_both_adapters(loaded: dict[str, Any], notes: dict[int, torch.Tensor]) -> None:
    plain = loaded["plain"].eval()
    for ids in notes.values():
        states = trunk(language_model(plain))(input_ids=ids, use_cache=False).last_hidden_state
        present = torch.ones_like(ids, dtype=torch.bool)
        ours = loaded["model"].states(ids, present)
        torch.testing.assert_close(states, ours, rtol=0, atol=1e-5)
        with loaded["model"].without("task"):
            assert (states - loaded["model"].states(ids, present)).abs().max() > 1e-4


@torch.no_grad()
def test_the_merged_adapter_gives_the_logits_of_the_unmerged_one(
    loaded: dict[str, Any], notes: dict[int, torch.Tensor]
) -> None:
    plain, merged = loaded["plain"].eval(), loaded["merged"].eval()
    plain.base_model.set_adapter(["clinical"])
    for ids in notes.values():
        expected = plain(input_ids=ids).logits
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
        with plain.disable_adapter():
            assert (plain(input_ids=ids).logits - expected).abs().max() > 0.01
    plain.base_model.set_adapter(["clinical", "task"])
