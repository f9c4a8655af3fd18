"""The training program in the test process: what learns, stays, is saved and is predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tasks import schemas, tables
from tasks.errors import TrainingError
from tasks.finetune import predict, train
from tasks.finetune.jobs import FinetuneJob, PredictJob
from tasks.finetune.outcomes import read_outcome
from tasks.finetune.scoring import mean_macro_auroc, score
from tasks.finetune.train import Member, Study, build, fit
from tasks.measures.ranking import macro_auroc
from tasks.model.base import load_headless
from tasks.model.fusion import FusedModel, load_fused
from tasks.training.program import World
from tests.finetune.conftest import (
    DIED,
    HADM_IDS,
    LABELS,
    Inputs,
    split_of,
    system_of,
    write_outcome,
)


def fused(study: Study) -> Member:
    return next(member for member in study.members() if member.arm == "fused")


def parameters(model: FusedModel, *having: str) -> dict[str, torch.Tensor]:
    return {
        name: each.detach().clone()
        for name, each in model.named_parameters()
        if all(part in name for part in having)
    }


@pytest.fixture(scope="module")
def trained(inputs: Inputs, process_group: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train` and `predict` leave, of both arms with a joint adapter."""
    result = tmp_path_factory.mktemp("trained")
    job = inputs.job(result, epochs=10)
    train.main(job, one_rank(result))
    predict_from(job, inputs, result)
    return result


def one_rank(place: Path) -> World:
    work = place / "work"
    work.mkdir(parents=True)
    return World(rank=0, size=1, local_rank=0, work=work, device=torch.device("cpu"))


def predict_from(job: FinetuneJob, inputs: Inputs, result: Path) -> None:
    told = PredictJob(
        config=job.config,
        base=job.base,
        clinical=inputs.clinical,
        adapters=result,
        encoded=job.encoded,
        outcomes=tuple(job.outcomes),
        result=result / "predictions",
    )
    predict.main(told, one_rank(result / "predictions"))


def predicted(result: Path, variant: str, outcome: str, split: str) -> tuple[Any, Any]:
    table = pq.read_table(result / "predictions" / variant / outcome / f"{split}.parquet")
    return table["hadm_id"].to_numpy(), np.array(table["logits"].to_pylist(), np.float32)


@pytest.mark.parametrize("clinical_is", ["frozen", "trainable"])
def test_only_what_the_config_says_changes(
    inputs: Inputs, world: World, tmp_path: Path, clinical_is: str
) -> None:
    stored = (inputs.clinical / "adapter_model.safetensors").read_bytes()
    study = Study.read(inputs.job(tmp_path, clinical=clinical_is, epochs=1, collapse_below=0))
    model = build(study, fused(study), world)
    before = parameters(model)
    fit(study, fused(study), model, world)
    after = parameters(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_clinical = {name for name in before if ".lora_" in name and ".clinical" in name}
    of_task = {name for name in before if ".lora_" in name and ".task" in name}
    heads = {name for name in before if name.startswith("heads.")}
    assert of_clinical
    expected = of_task | heads | (of_clinical if clinical_is == "trainable" else set())
    assert changed == expected
    assert (inputs.clinical / "adapter_model.safetensors").read_bytes() == stored


def test_what_is_not_known_teaches_nothing(inputs: Inputs, world: World, tmp_path: Path) -> None:
    """Admissions coded in ICD-9 move no ICD-10 label's query, weight or bias, and conversely."""
    study = Study.read(inputs.job(tmp_path))
    member = fused(study)
    model = build(study, member, world)
    lesson = train._Lesson(member, study.notes, plan=None, world=world, weights={})  # type: ignore[arg-type]
    for system in ("icd9cm", "icd10cm"):
        of_system = [system_of(int(h)) == system for h in study.notes.hadm_ids[study.train_rows]]
        model.zero_grad()
        lesson.loss(model, study.train_rows[of_system]).backward()
        for parameter in model.head("diagnoses").parameters():
            for label, (own, *_) in enumerate(LABELS):
                moved = parameter.grad is not None and bool(parameter.grad[label].any())
                assert moved == (own == system)
    model.zero_grad()
    uncoded = [system_of(int(h)) is None for h in study.notes.hadm_ids]
    lesson.loss(model, np.flatnonzero(uncoded)).backward()
    for parameter in model.head("diagnoses").parameters():
        assert parameter.grad is None or not parameter.grad.any()
    assert any(each.grad.any() for each in model.head("mortality").parameters())


def test_the_best_state_is_what_is_saved_loaded_and_predicts(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    study = Study.read(inputs.job(tmp_path, epochs=2))
    model = build(study, fused(study), world)
    result = fit(study, fused(study), model, world)
    model.save(tmp_path / "arm", result.state)
    backbone = load_headless(inputs.base, torch.float32)
    loaded = load_fused(backbone, tmp_path / "arm", inputs.clinical)
    for name, tensor in parameters(loaded, ".lora_").items():
        if name in result.state:
            assert torch.equal(tensor, result.state[name]), name
    logits = score(loaded, study.notes, study.validation_rows, world)
    value = mean_macro_auroc(logits, study.outcomes, study.validation_rows)
    assert value == pytest.approx(result.best_value, abs=1e-9)


def test_it_learns_each_label_and_predicts_in_the_labels_order(
    inputs: Inputs, trained: Path
) -> None:
    hadm_ids, logits = predicted(trained, "fused", "diagnoses", "test")
    outcome = read_outcome("diagnoses", inputs.diagnoses, hadm_ids)
    every = np.arange(len(hadm_ids))
    positives, observed = outcome.positives(every), outcome.observed(every)
    for label in range(len(LABELS)):
        own = slice(label, label + 1)
        assert macro_auroc(logits[:, own], positives[:, own], observed[:, own]) > 0.9, label
    described = json.loads((trained / "fused" / "head.json").read_text())["heads"]
    assert described[0]["labels"] == [[system, code] for system, code, _, _ in LABELS]


def test_predictions_of_both_splits_stand_in_the_order_of_the_cohort(trained: Path) -> None:
    for variant in ("fused", "unfused", "fused-without-clinical", "fused-without-task"):
        for outcome, labels in (("diagnoses", 4), ("mortality", 1)):
            for split in ("validation", "test"):
                hadm_ids, logits = predicted(trained, variant, outcome, split)
                assert {split_of(int(each)) for each in hadm_ids} == {split}
                assert (np.diff(hadm_ids) > 0).all()
                assert logits.shape == (len(hadm_ids), labels)
            assert not (trained / "predictions" / variant / outcome / "train.parquet").exists()


def test_the_validation_of_the_summary_is_that_of_the_stored_predictions(
    inputs: Inputs, trained: Path
) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    for arm in ("fused", "unfused"):
        values = []
        for name in ("diagnoses", "mortality"):
            hadm_ids, logits = predicted(trained, arm, name, "validation")
            outcome = read_outcome(name, getattr(inputs, name), hadm_ids)
            every = np.arange(len(hadm_ids))
            values.append(macro_auroc(logits, outcome.positives(every), outcome.observed(every)))
        assert np.mean(values) == pytest.approx(summary[f"{arm}_validation"], abs=1e-6)


def test_zeroing_either_adapter_changes_every_outcome(trained: Path) -> None:
    for outcome in ("diagnoses", "mortality"):
        _, whole = predicted(trained, "fused", outcome, "test")
        for variant in ("fused-without-clinical", "fused-without-task"):
            _, without = predicted(trained, variant, outcome, "test")
            assert (np.abs(whole - without).max(axis=0) > 1e-3).all()


def test_every_arm_starts_alike_and_sees_the_same_admissions(trained: Path) -> None:
    rows = tables.read(trained / "history.parquet", schemas.HISTORY).to_pylist()
    arms = {arm: [row for row in rows if row["arm"] == arm] for arm in ("fused", "unfused")}
    for column in ("step", "epoch", "tokens", "examples", "learning_rate"):
        one, other = ([row[column] for row in arms[arm]] for arm in arms)
        assert one == other
    assert (trained / "unfused" / "adapter_model.safetensors").exists()
    assert not (trained / "unfused" / "clinical").exists()


def test_an_adapter_for_each_outcome(inputs: Inputs, world: World, tmp_path: Path) -> None:
    job = inputs.job(tmp_path / "result", joint=False, epochs=1, arms=("fused",), collapse_below=0)
    train.main(job, world)
    tensors = {}
    for outcome in ("diagnoses", "mortality"):
        place = tmp_path / "result" / "fused" / outcome
        tensors[outcome] = load_file(place / "adapter_model.safetensors")
        heads = load_file(place / "head.safetensors")
        assert {n.split(".")[1] for n in heads if n.startswith("heads.")} == {outcome}
    differ = [
        not torch.equal(tensors["diagnoses"][name], tensors["mortality"][name])
        for name in tensors["diagnoses"]
    ]
    assert all(differ)
    predict_from(job, inputs, tmp_path / "result")
    _, logits = predicted(tmp_path / "result", "fused", "mortality", "test")
    assert logits.shape[1] == 1


def test_a_run_that_learned_nothing_fails_and_publishes_nothing(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    job = inputs.job(
        tmp_path / "result", epochs=1, learning_rate=1e-9,
        head={"learning_rate": 1e-9, "start_from_titles": False},
        collapse_below=0.9,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="'fused' collapsed") as raised:
        train.main(job, world)
    for key in ("finetune.learning_rate", "finetune.head.learning_rate", "finetune.clip"):
        assert key in str(raised.value)
    assert not (tmp_path / "result").exists()


def test_too_few_admissions_to_tell_are_a_warning(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    """With 80 admissions in validation, chance itself gives 0.4 to 0.6."""
    job = inputs.job(
        tmp_path / "result", epochs=1, arms=("fused",), learning_rate=1e-9,
        head={"learning_rate": 1e-9, "start_from_titles": False},
    )  # fmt: skip
    train.main(job, world)
    summary = json.loads((tmp_path / "result" / "summary.json").read_text())
    assert summary["fused_validation"] < 0.55
    assert "'fused' may have learned nothing" in summary["fused_warning"]
    assert (tmp_path / "result" / "fused" / "head.json").exists()


def test_classes_are_learned_together_and_ranked_by_their_softmax(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    job = inputs.job(tmp_path, epochs=10, arms=("fused",))
    job = job.model_copy(update={"outcomes": {"triage": inputs.triage}})
    train.main(job, one_rank(tmp_path))
    predict_from(job, inputs, tmp_path)
    hadm_ids, logits = predicted(tmp_path, "fused", "triage", "test")
    outcome = read_outcome("triage", inputs.triage, hadm_ids)
    rows = np.arange(len(hadm_ids))
    assert outcome.one_of
    assert outcome.observed_cells(rows) == len(rows)
    right = outcome.positives(rows)[rows, logits.argmax(axis=1)]
    assert right.mean() > 0.9
    constant = np.linspace(-50, 50, len(rows), dtype=np.float32)[:, None]
    truth = outcome.positives(rows), outcome.observed(rows)
    ranked = [macro_auroc(outcome.rankable(each), *truth) for each in (logits, logits + constant)]
    assert ranked[0] == pytest.approx(ranked[1], abs=1e-4)
    assert macro_auroc(logits + constant, *truth) < ranked[0] - 0.1


def test_balanced_cases_count_more_and_still_predict_the_prevalence(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    """At the base rates, where training starts, both losses' saved heads say the same."""
    draw = np.random.default_rng(0)
    words = {hadm_id: {"collapse"} if draw.random() < 0.06 else set() for hadm_id in HADM_IDS}
    write_outcome(tmp_path / "rare", (DIED,), words)
    mean, loss = {}, {}
    for kind in ("none", "balanced"):
        result = tmp_path / kind
        job = inputs.job(
            result, epochs=1, arms=("unfused",), positive_weight=kind, collapse_below=0,
            learning_rate=1e-9, head={"learning_rate": 1e-9},
        )  # fmt: skip
        job = job.model_copy(update={"outcomes": {"mortality": tmp_path / "rare"}})
        train.main(job, one_rank(result))
        predict_from(job, inputs, result)
        _, logits = predicted(result, "unfused", "mortality", "test")
        mean[kind] = float((1 / (1 + np.exp(-logits))).mean())
        history = tables.read(result / "history.parquet", schemas.HISTORY).to_pylist()
        loss[kind] = np.mean([row["loss"] for row in history if row["loss"] is not None])
    rate = np.mean([bool(words[each]) for each in HADM_IDS if split_of(each) == "train"])
    assert mean["none"] == pytest.approx(rate, abs=0.01)
    assert mean["balanced"] == pytest.approx(mean["none"], rel=1e-4)
    # cases and controls weigh alike and are told from each other by nothing: log(2) a cell twice
    assert loss["balanced"] == pytest.approx(2 * np.log(2) * (1 - rate), rel=0.1)
    assert loss["none"] < 0.25
