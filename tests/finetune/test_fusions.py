"""A member learns and predicts in whichever way the clinical adapter takes part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.data.outcomes import read_outcome
from tasks.finetune.members import MemberConfig, SummandConfig
from tasks.finetune.steps import _predicting
from tasks.measures.ranking import macro_auroc
from tasks.model.adapters.fusions import Fusion
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import counts_of, predicted, train_and_predict


@pytest.mark.parametrize(
    ("fusion", "variants"),
    [
        ("gated", ["sum", "sum-without-clinical", "sum-without-task"]),
        ("merged", ["sum", "sum-without-task"]),
        ("continued", ["sum", "sum-without-task"]),
    ],
)
def test_a_member_learns_with_every_fusion(
    inputs: Inputs, process_group: None, tmp_path: Path, fusion: Fusion, variants: list[str]
) -> None:
    member = MemberConfig(name="sum", summands=(SummandConfig(fusion=fusion),))
    job = inputs.job(member, epochs=10)
    train_and_predict(job, tmp_path, member)
    hadm_ids, logits = predicted(tmp_path, "sum", "diagnoses", "test")
    outcome, rows = read_outcome("diagnoses", inputs.diagnoses, hadm_ids), np.arange(len(hadm_ids))
    # what is continued has the clinical adapter's layers, without the embedding, and learns less
    assert macro_auroc(logits, outcome.positives(rows), outcome.observed(rows)) > 0.7
    assert [v.name for v in _predicting(member, job, tmp_path).variants] == variants
    weight = counts_of(tmp_path / "sum").get("clinical_added_mean")
    assert (weight is not None and weight > 0 and weight != 1) == (fusion == "gated")
