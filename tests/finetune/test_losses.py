"""Members trained with each loss: what they learn, and what the saved heads say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks import schemas, tables
from tasks.finetune import train
from tasks.finetune.lesson import mean_macro_auroc
from tasks.finetune.study import Study
from tasks.model.heads.heads import Heads
from tasks.model.score import Logits, score
from tests.finetune.conftest import Inputs
from tests.finetune.test_frozen import kept as kept
from tests.finetune.test_frozen import member_job
from tests.finetune.test_train import one_rank

OUTCOMES = ("diagnoses", "triage")


def saved(
    inputs: Inputs, kept: tuple[Path, Path], place: Path, loss: object, **settings: int
) -> tuple[Study, Logits]:
    """The study of a member that learned with this loss, and its validation logits."""
    settings = {"epochs": 5, "batch_size": 16} | settings
    job = member_job(inputs, kept, outcomes=OUTCOMES, loss=loss, collapse_below=0, **settings)
    world = one_rank(place)
    train.main(job, world)
    heads = Heads()
    heads.read(place)
    study = Study.read(job)
    logits = score(heads.eval(), study.inputs, study.validation_rows, world)
    value = mean_macro_auroc(logits, study.outcomes, study.validation_rows)
    counts = json.loads((place / "work" / "counts.json").read_text())
    assert value == pytest.approx(counts["validation"], abs=1e-6), "chosen by what is saved"
    return study, logits


@pytest.fixture(scope="module")
def plain(
    inputs: Inputs,
    kept: tuple[Path, Path],
    process_group: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Logits:
    place = tmp_path_factory.mktemp("plain")
    return saved(inputs, kept, place, "cross_entropy")[1]


def test_adjusted_logits_are_saved_as_those_of_the_data(
    inputs: Inputs, kept: tuple[Path, Path], plain: Logits, tmp_path: Path
) -> None:
    """Adding a constant to a label's logits moves its bias alone: the same member comes out."""
    loss = {"kind": "logit_adjusted", "tau": 1.5}
    study, logits = saved(inputs, kept, tmp_path, loss)
    assert set(study.shifts) == set(OUTCOMES)
    for name in OUTCOMES:
        np.testing.assert_allclose(logits[name], plain[name], atol=2e-2)


def test_balanced_logits_are_without_the_prior(
    inputs: Inputs, kept: tuple[Path, Path], plain: Logits, tmp_path: Path
) -> None:
    loss = {"kind": "logit_adjusted", "probabilities": "balanced"}
    study, logits = saved(inputs, kept, tmp_path, loss)
    for name in OUTCOMES:
        shift = study.shifts[name].numpy()
        assert np.abs(shift).max() > 0.3
        np.testing.assert_allclose(logits[name] + shift, plain[name], atol=2e-2)


def test_the_focal_loss_teaches(
    inputs: Inputs, kept: tuple[Path, Path], process_group: None, tmp_path: Path
) -> None:
    study, logits = saved(inputs, kept, tmp_path, "focal", epochs=9, batch_size=8)
    assert mean_macro_auroc(logits, study.outcomes, study.validation_rows) > 0.7
    history = tables.read(tmp_path / "history.parquet", schemas.HISTORY).to_pylist()
    losses = [row["loss"] for row in history if row["loss"] is not None]
    assert losses[-1] < 0.85 * losses[0]
