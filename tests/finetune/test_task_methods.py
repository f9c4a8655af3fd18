"""By every method a member learns on a decoder and on an encoder, and comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tasks.errors import ConfigError
from tasks.finetune.config import MemberTraining
from tasks.finetune.jobs import MemberJob
from tasks.finetune.members import FUSED, UNFUSED, MemberConfig, SummandConfig
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.model.adapters.allows import check_task_method
from tasks.model.adapters.methods import TASK, Lora, TaskMethod
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, load_classifier
from tasks.model.score import score
from tasks.model.trunk import Summand
from tasks.training.config import TrainingConfig
from tasks.training.program import World
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import fitted

ZERO3 = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero3.json"
UNION, *_ = get_args(TaskMethod)
KINDS = [get_args(method.model_fields["kind"].annotation)[0] for method in get_args(UNION)]
SIZES: dict[str, dict[str, Any]] = {  # what differs from a method's defaults, for a tiny base
    "lora": {"rank": 4},
    "dora": {"rank": 4},
    "pissa": {"rank": 4},
    "adalora": {"initial_rank": 6, "rank": 3, "alpha": 8, "every_steps": 2},
    "vera": {"rank": 16},
    "prefix": {"tokens": 4},
    "prompt": {"tokens": 4},
    "p_tuning": {"tokens": 4, "width": 16, "layers": 2},
}
RATES = {"lora": 2e-2, "dora": 2e-2, "adalora": 5e-2, "ia3": 0.2, "vera": 0.2, "full": 3e-3}
RATES |= {"prefix": 0.2, "prompt": 0.2, "p_tuning": 5e-2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With fewer positions than the notes have tokens: it reads them in chunks."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.1,
    )
    folder = tmp_path_factory.mktemp("encoder")
    BertModel(config).save_pretrained(folder)
    return folder


def job_of(inputs: Inputs, base: Path, kind: str, **settings: Any) -> MemberJob:
    """Of a training in which heads hardly learn, so that what learns is the method's."""
    given = {
        "adapter": {"kind": kind, **SIZES.get(kind, {})},
        "learning_rate": RATES.get(kind, 1e-2),
        "head": {"learning_rate": 1e-4},
        "warmup_share": 0,
        "epochs": 6,
        "max_labelled_admissions": 40,
        "collapse_below": 0,
    }
    member = settings.pop("member", UNFUSED)
    return inputs.job(member, **(given | settings)).model_copy(update={"base": base})


def logits_of(model: Classifier, study: Study, world: World) -> np.ndarray:
    model.eval()
    logits = score(model, study.inputs, study.validation_rows[:12], world)
    return np.concatenate(list(logits.values()), axis=1)


@pytest.mark.parametrize("family", ["decoder", "encoder"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_member_learns_by_it_and_comes_back(
    inputs: Inputs, encoder: Path, world: World, tmp_path: Path, kind: str, family: str
) -> None:
    base = encoder if family == "encoder" else inputs.base
    study = Study.read(job_of(inputs, base, kind))
    model = build(study, world)
    assert isinstance(model, Classifier)
    start = logits_of(model.train(False), study, world)
    model.train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = fitted(study, model, world)
    # its parameters move, no other does
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    parts = model.trained_parts()
    assert parts[TASK]
    expected = {name for names in parts.values() for name in names}
    assert moved <= expected
    for name in expected - moved:  # AdaLoRA's singular values start at zero, and go back to it
        assert kind == "adalora", name
        assert not model.get_parameter(name).any(), name
    # the loss falls
    losses = [row["loss"] for row in trained.history if row["loss"] is not None]
    epoch = len(losses) // 6
    assert np.mean(losses[-epoch:]) < np.mean(losses[:epoch]) - 0.01, losses
    # what was kept is saved, and comes back
    for name, parameter in model.named_parameters():
        if name in trained.state:
            parameter.data.copy_(trained.state[name])
    learned = logits_of(model, study, world)
    assert np.abs(learned - start).max() > 0.01
    model.save(tmp_path / "member", trained.state)
    again = load_classifier(load_base(base), tmp_path / "member", [])
    np.testing.assert_allclose(logits_of(again, study, world), learned, rtol=0, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("kind", ["dora", "pissa", "full", "bitfit", "bottleneck"])
def test_beside_a_summand_both_act_and_come_back(
    inputs: Inputs, world: World, tmp_path: Path, kind: str
) -> None:
    member = MemberConfig(name="sum", summands=(SummandConfig(fusion="trained"),))
    study = Study.read(job_of(inputs, inputs.base, kind, member=member, epochs=1))
    model = build(study, world)
    assert isinstance(model, Classifier)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fitted(study, model, world)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(".clinical." in name for name in moved)
    assert set(model.trained_parts()[TASK]) <= moved
    model.save(tmp_path / "member")
    learned = logits_of(model, study, world)
    clinical = [Summand("clinical", inputs.clinical, "trained")]
    again = load_classifier(load_base(inputs.base), tmp_path / "member", clinical)
    np.testing.assert_allclose(logits_of(again, study, world), learned, rtol=0, atol=1e-5)
    for adapter in again.adapters:
        with again.without(adapter):
            assert np.abs(logits_of(again, study, world) - learned).max() > 1e-4, adapter
    np.testing.assert_allclose(logits_of(again, study, world), learned, rtol=0, atol=1e-5)


def test_without_what_full_learned_stands_the_base_with_its_summands(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    study = Study.read(job_of(inputs, inputs.base, "full", member=FUSED, epochs=1))
    model = build(study, world)
    assert isinstance(model, Classifier)
    ids, present = map(torch.from_numpy, study.inputs.padded(study.validation_rows[:4]))
    with torch.no_grad():
        started = model.states(ids, present)
    fitted(study, model, world)
    model.save(tmp_path / "member")
    clinical = [Summand("clinical", inputs.clinical)]
    again = load_classifier(load_base(inputs.base), tmp_path / "member", clinical)
    with torch.no_grad():
        assert (again.states(ids, present) - started).abs().max() > 1e-2
        with again.without(TASK):
            torch.testing.assert_close(again.states(ids, present), started)


def test_ranks_that_part_the_weights_are_refused_for_methods_that_need_them_whole() -> None:
    def method(kind: str) -> TaskMethod:
        return MemberTraining.model_validate({"adapter": kind}).adapter

    zero3 = TrainingConfig(deepspeed=ZERO3)
    for kind in ("full", "bitfit", "bottleneck", "dora"):
        with pytest.raises(ConfigError, match=rf"finetune\.adapter is {kind}, .* is ZeRO-3"):
            check_task_method(method(kind), zero3, causal=True)
    check_task_method(Lora(), zero3, causal=True)


def test_a_rate_that_is_not_given_is_the_methods() -> None:
    for kind, rate in (("full", 3e-5), ("ia3", 3e-3), ("lora", 2e-3), ("dora", 2e-3)):
        for training in ({}, {"learning_rate": None}):
            asked = MemberTraining.model_validate({"adapter": kind, "training": training})
            assert asked.training.learning_rate == rate
        given = {"adapter": kind, "training": {"learning_rate": 0.5}}
        assert MemberTraining.model_validate(given).training.learning_rate == 0.5
