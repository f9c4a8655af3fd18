"""A member learns and predicts in whichever way the clinical adapter takes part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.data.outcomes import read_outcome
from tasks.finetune.members import MemberConfig, SummandConfig
from tasks.finetune.stage import _predicting
from tasks.measures.ranking import macro_auroc
from tasks.model.adapters.fusions import Fusion
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import counts_of, predicted, train_and_predict


def test_what_the_order_of_the_sum_changes_is_recorded(inputs: Inputs, tmp_path: Path) -> None:
    """In the one order that a member's key knows, whichever the configuration has."""
    summands = (SummandConfig(adapter="ontology"), SummandConfig(adapter="clinical"))
    member = MemberConfig(name="sum", summands=summands)
    job = inputs.job(member)
    whole, *others = _predicting(member, job, tmp_path, ordered=True).variants
    assert whole.ordered == whole.summands == ("clinical", "ontology", "task")
    assert {variant.ordered for variant in others} == {()}
    assert _predicting(member, job, tmp_path).variants[0].ordered == ()
    of_one = job.model_copy(update={"summands": {}})
    assert _predicting(member, of_one, tmp_path, ordered=True).variants[0].ordered == ()


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
