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
from tasks.data.outcomes import read_outcome
from tasks.errors import TrainingError
from tasks.finetune import predict, train
from tasks.finetune.collapse import Collapse
from tasks.finetune.jobs import MemberJob
from tasks.finetune.lesson import MemberLesson, mean_macro_auroc
from tasks.finetune.members import FUSED, UNFUSED, MemberConfig, SummandConfig
from tasks.finetune.stage import _predicting
from tasks.finetune.study import Study
from tasks.finetune.train import build, fit
from tasks.measures.ranking import macro_auroc
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, Summand, load_classifier
from tasks.model.score import score
from tasks.training.loop import Trained
from tasks.training.program import World
from tests.conftest import device
from tests.finetune.conftest import (
    CLASSES,
    DIED,
    HADM_IDS,
    LABELS,
    Inputs,
    split_of,
    system_of,
    write_outcome,
)


def parameters(model: Classifier, *having: str) -> dict[str, torch.Tensor]:
    return {
        name: each.detach().clone()
        for name, each in model.named_parameters()
        if all(part in name for part in having)
    }


@pytest.fixture(scope="module")
def trained(inputs: Inputs, process_group: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what `train` and `predict` leave of two members: <member>, <member>-predicted."""
    result = tmp_path_factory.mktemp("trained")
    for member in (FUSED, UNFUSED):
        train_and_predict(inputs.job(member, epochs=10, seed=1), result, member)
    return result


def one_rank(place: Path) -> World:
    work = place / "work"
    work.mkdir(parents=True)
    return World(rank=0, size=1, local_rank=0, work=work, device=device())


def train_and_predict(job: MemberJob, result: Path, member: MemberConfig = FUSED) -> Path:
    """The folder of the trained member."""
    train.main(job, one_rank(result / member.name))
    predicting = _predicting(member, job, result / member.name)
    predict.main(predicting, one_rank(result / f"{member.name}-predicted"))
    return result / member.name


def counts_of(place: Path) -> dict[str, Any]:
    return json.loads((place / "work" / "counts.json").read_text())


def fitted(study: Study, model: Classifier, world: World) -> Trained:
    job = study.job
    collapse = Collapse(job.name, job.config, study.outcomes, study.validation_rows)
    return fit(study, model, world, collapse)


def predicted(result: Path, variant: str, outcome: str, split: str) -> tuple[Any, Any]:
    member = variant.partition("-without")[0]
    place = result / f"{member}-predicted" / variant / outcome
    table = pq.read_table(place / f"{split}.parquet")
    return table["hadm_id"].to_numpy(), np.array(table["logits"].to_pylist(), np.float32)


@pytest.mark.parametrize("clinical_learns", [False, True])
def test_only_what_the_config_says_changes(
    inputs: Inputs, world: World, clinical_learns: bool
) -> None:
    stored = (inputs.clinical / "adapter_model.safetensors").read_bytes()
    member = MemberConfig(
        name="sum", summands=(SummandConfig(fusion="trained" if clinical_learns else "frozen"),)
    )
    study = Study.read(inputs.job(member, epochs=1, collapse_below=0))
    model = build(study, world)
    before = parameters(model)
    fitted(study, model, world)
    after = parameters(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_clinical = {name for name in before if ".lora_" in name and ".clinical" in name}
    of_task = {name for name in before if ".lora_" in name and ".task" in name}
    heads = {name for name in before if name.startswith("heads.")}
    assert of_clinical
    expected = of_task | heads | (of_clinical if clinical_learns else set())
    assert changed == expected
    assert (inputs.clinical / "adapter_model.safetensors").read_bytes() == stored


def test_activations_computed_twice_teach_the_same(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    states = []
    for checkpointing in (False, True):
        job = inputs.job(epochs=1, collapse_below=0, gradient_checkpointing=checkpointing)
        study, world = Study.read(job), one_rank(tmp_path / str(checkpointing))
        model = build(study, world)
        assert model.base.model.is_gradient_checkpointing == checkpointing
        states.append(fitted(study, model, world).state)
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-5, atol=1e-6)


def test_what_is_not_known_teaches_nothing(inputs: Inputs, world: World) -> None:
    """Admissions coded in ICD-9 move no ICD-10 label's query, weight or bias, and conversely."""
    study = Study.read(inputs.job())
    model = build(study, world)
    lesson = MemberLesson(study, plan=None, device=world.device)  # type: ignore[arg-type]
    for system in ("icd9cm", "icd10cm"):
        of_system = [system_of(int(h)) == system for h in study.inputs.hadm_ids[study.train_rows]]
        model.zero_grad()
        lesson.loss(model, lesson.prepared(study.train_rows[of_system])).backward()
        for parameter in model.head("diagnoses").parameters():
            for label, (own, *_) in enumerate(LABELS):
                moved = parameter.grad is not None and bool(parameter.grad[label].any())
                assert moved == (own == system)
    model.zero_grad()
    uncoded = [system_of(int(h)) is None for h in study.inputs.hadm_ids]
    lesson.loss(model, lesson.prepared(np.flatnonzero(uncoded))).backward()
    for parameter in model.head("diagnoses").parameters():
        assert parameter.grad is None or not parameter.grad.any()
    assert any(each.grad.any() for each in model.head("mortality").parameters())


def test_the_best_state_is_what_is_saved_loaded_and_predicts(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    study = Study.read(inputs.job(epochs=2))
    model = build(study, world)
    result = fitted(study, model, world)
    model.save(tmp_path / "member", result.state)
    clinical = [Summand("clinical", inputs.clinical)]
    loaded = load_classifier(load_base(inputs.base), tmp_path / "member", clinical)
    for name, tensor in parameters(loaded, ".lora_").items():
        if name in result.state:
            assert torch.equal(tensor, result.state[name]), name
    logits = score(loaded, study.inputs, study.validation_rows, world)
    value = mean_macro_auroc(logits, study.outcomes, study.validation_rows)
    assert value == pytest.approx(result.best_value, abs=1e-9)
    nobody = study.validation_rows[:0]
    with pytest.raises(TrainingError, match=r"among 0 validation.*raise ingest\.split"):
        mean_macro_auroc(score(loaded, study.inputs, nobody, world), study.outcomes, nobody)


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
    assert not list(trained.rglob("train.parquet"))


def test_the_counted_validation_is_that_of_the_stored_predictions(
    inputs: Inputs, trained: Path
) -> None:
    for arm in ("fused", "unfused"):
        values = []
        for name in ("diagnoses", "mortality"):
            hadm_ids, logits = predicted(trained, arm, name, "validation")
            outcome = read_outcome(name, getattr(inputs, name), hadm_ids)
            every = np.arange(len(hadm_ids))
            values.append(macro_auroc(logits, outcome.positives(every), outcome.observed(every)))
        assert np.mean(values) == pytest.approx(counts_of(trained / arm)["validation"], abs=1e-6)


def test_zeroing_either_adapter_changes_every_outcome(trained: Path) -> None:
    for outcome in ("diagnoses", "mortality"):
        _, whole = predicted(trained, "fused", outcome, "test")
        for variant in ("fused-without-clinical", "fused-without-task"):
            _, without = predicted(trained, variant, outcome, "test")
            assert (np.abs(whole - without).max(axis=0) > 1e-3).all()


def test_every_member_starts_alike_and_sees_the_same_admissions(trained: Path) -> None:
    arms = {
        arm: tables.read(trained / arm / "history.parquet", schemas.HISTORY).to_pylist()
        for arm in ("fused", "unfused")
    }
    for column in ("step", "epoch", "tokens", "examples", "learning_rate"):
        one, other = ([row[column] for row in arms[arm]] for arm in arms)
        assert one == other
    assert (trained / "unfused" / "adapter_model.safetensors").exists()
    assert not (trained / "unfused" / "clinical").exists()


def test_a_run_that_learned_nothing_fails_and_publishes_nothing(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    job = inputs.job(
        epochs=1, learning_rate=1e-7,
        head={"learning_rate": 1e-7, "start_from_titles": False},
        collapse_below=0.9,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="'fused' collapsed") as raised:
        train.main(job, one_rank(tmp_path / "result"))
    for key in ("training.learning_rate", "head.learning_rate", "training.clip"):
        assert f"finetune.{key}" in str(raised.value)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["work"]


def test_too_few_admissions_to_tell_are_a_warning(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    """With 80 admissions in validation, chance itself gives 0.4 to 0.6."""
    job = inputs.job(
        epochs=1, learning_rate=1e-7, head={"learning_rate": 1e-7, "start_from_titles": False}
    )
    train.main(job, one_rank(tmp_path))
    assert counts_of(tmp_path)["validation"] < 0.55
    assert "'fused' may have learned nothing" in counts_of(tmp_path)["warning"]
    assert (tmp_path / "head.json").exists()


def test_few_shots_within_a_budget_are_counted(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    job = inputs.job(epochs=30, cases_per_label=5, budget_minutes=1e-6, collapse_below=0)
    train.main(job, one_rank(tmp_path))
    counts = counts_of(tmp_path)
    assert 20 < counts["admissions_to_learn_from"] <= 2 * 5 * (len(LABELS) + 1)
    history = tables.read(tmp_path / "history.parquet", schemas.HISTORY).to_pylist()
    assert counts["stopped_by_budget_after_steps"] == history[-1]["step"]  # the first epoch's end
    assert history[-1]["validation"] is not None
    assert history[-1]["epoch"] == pytest.approx(2)  # 30 epochs are validated every second one


def test_what_a_training_took_is_counted(inputs: Inputs, trained: Path) -> None:
    """The base, read off its files, and what was trained on it: 4 and 6 operations a weight."""
    counts = {name: counts_of(trained / name) for name in ("fused", "unfused")}
    alone = load_file(trained / "unfused" / "adapter_model.safetensors")
    in_adapter = sum(tensor.numel() for tensor in alone.values())
    assert counts["unfused"]["adapter_parameters"] == in_adapter
    assert counts["unfused"]["parameters"] > in_adapter
    base = load_base(inputs.base).model
    frozen = sum(p.numel() for p in base.parameters() if p.ndim > 1)
    frozen -= base.get_input_embeddings().weight.numel()  # looked up
    attention = 12 * base.config.num_hidden_layers * base.config.hidden_size * 64  # at most
    for each in counts.values():
        of_token = each["flops"] / each["tokens"]
        assert 4 * frozen < of_token < 4 * frozen + 10 * each["parameters"] + attention
        assert 0 < each["flops_to_best"] <= each["flops"]
    assert counts["fused"]["flops"] > counts["unfused"]["flops"]  # the clinical adapter takes part


def test_classes_are_learned_together_and_ranked_by_their_softmax(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    train_and_predict(inputs.job(epochs=10, outcomes=("triage",)), tmp_path)
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
            UNFUSED, epochs=1, class_weight=kind, collapse_below=0,
            learning_rate=3e-7, head={"learning_rate": 3e-7},
        )  # fmt: skip
        job = job.model_copy(update={"outcomes": {"mortality": tmp_path / "rare"}})
        place = train_and_predict(job, result, UNFUSED)
        _, logits = predicted(result, "unfused", "mortality", "test")
        mean[kind] = float((1 / (1 + np.exp(-logits))).mean())
        history = tables.read(place / "history.parquet", schemas.HISTORY).to_pylist()
        loss[kind] = np.mean([row["loss"] for row in history if row["loss"] is not None])
    rate = np.mean([bool(words[each]) for each in HADM_IDS if split_of(each) == "train"])
    assert mean["none"] == pytest.approx(rate, abs=0.01)
    assert mean["balanced"] == pytest.approx(mean["none"], rel=1e-4)
    # cases and controls weigh alike and are told from each other by nothing: log(2) a cell twice
    assert loss["balanced"] == pytest.approx(2 * np.log(2) * (1 - rate), rel=0.1)
    assert loss["none"] < 0.25


def test_balanced_classes_count_alike_and_still_predict_their_shares(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    """Where training starts, both losses' saved heads say the same."""
    draw = np.random.default_rng(0)
    kinds = draw.choice(["heart", "stone", "none"], len(HADM_IDS), p=[0.1, 0.3, 0.6])
    write_outcome(
        tmp_path / "rare", CLASSES, {h: {k} for h, k in zip(HADM_IDS, kinds, strict=True)}
    )
    mean, loss, best = {}, {}, {}
    for weight in ("none", "balanced"):
        job = inputs.job(
            UNFUSED, epochs=1, class_weight=weight, collapse_below=0,
            learning_rate=3e-7, head={"learning_rate": 3e-7},
        )  # fmt: skip
        job = job.model_copy(update={"outcomes": {"triage": tmp_path / "rare"}})
        place = train_and_predict(job, tmp_path / weight, UNFUSED)
        _, logits = predicted(tmp_path / weight, "unfused", "triage", "test")
        mean[weight] = torch.from_numpy(logits).softmax(dim=1).mean(dim=0)
        history = tables.read(place / "history.parquet", schemas.HISTORY).to_pylist()
        loss[weight] = np.mean([row["loss"] for row in history if row["loss"] is not None])
        best[weight] = counts_of(place)["validation"]
    torch.testing.assert_close(mean["balanced"], mean["none"], atol=1e-3, rtol=0)
    assert best["balanced"] == pytest.approx(best["none"], abs=1e-3), "judged as they are saved"
    assert loss["balanced"] > 1.1 * loss["none"], "the rare are told badly, and count more"


def test_a_head_as_in_the_paper_learns_and_comes_back(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    """One weight a label on the last token's state as it is, no bias: the labels are learned."""
    head = {"kind": "linear", "scaling": "none", "bias": False, "learning_rate": 3e-2}
    job = inputs.job(UNFUSED, head=head, epochs=12)
    train_and_predict(job, tmp_path, UNFUSED)
    assert counts_of(tmp_path / "unfused")["validation"] > 0.8
    tensors = load_file(tmp_path / "unfused" / "head.safetensors")
    assert {name for name in tensors if name.startswith("heads.")} == {
        "heads.diagnoses.weight",
        "heads.mortality.weight",
    }
    _, logits = predicted(tmp_path, "unfused", "mortality", "validation")
    study = Study.read(job)
    logits_of = {"mortality": logits}
    (outcome,) = (each for each in study.outcomes if each.name == "mortality")
    assert mean_macro_auroc(logits_of, (outcome,), study.validation_rows) > 0.8
    with pytest.raises(ValueError, match=r"the head has none; set class_weight to none"):
        inputs.job(head=head, class_weight="balanced")
