"""Frozen lower layers: what leaves them is computed once, and the upper ones learn the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from tasks.data.states import States
from tasks.errors import ConfigError, ModelError
from tasks.finetune import embed, predict, train
from tasks.finetune.config import FinetuneConfig, StatesConfig
from tasks.finetune.jobs import EmbedJob, MemberJob
from tasks.finetune.members import FUSED, UNFUSED, MemberConfig
from tasks.finetune.room import check_room, tokens_kept
from tasks.finetune.stage import Training, _predicting
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.bases.layers import stack_of
from tasks.model.classifier import Classifier
from tasks.training.program import World
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import one_rank

LORA = {"kind": "lora", "rank": 4, "targets": "all-linear"}
GIB = 2**30


@pytest.fixture(scope="module")
def bases(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random bases of the shapes of stories260K and, but for its width, of MiniLM."""
    root = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    stories = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        initializer_range=0.1,
    )
    LlamaForCausalLM(stories).save_pretrained(root / "decoder")
    minilm = BertConfig(
        vocab_size=300,
        hidden_size=48,
        intermediate_size=192,
        num_hidden_layers=6,
        num_attention_heads=12,
        max_position_embeddings=24,
        initializer_range=0.1,
    )
    BertModel(minilm).save_pretrained(root / "encoder")
    return {name: root / name for name in ("decoder", "encoder")} | {"fused": inputs.base}


def lower_job(job: MemberJob) -> EmbedJob:
    """What `Training._with_lower` asks for."""
    return EmbedJob(
        base=job.base,
        chunk=job.chunk,
        below=job.config.freeze_below,
        summands=job.summands,
        weights=job.weights,
        fusions=job.fusions,
        tokenizer=job.tokenizer,
        precision="fp32",
        encoded=job.encoded,
    )


def with_lower(job: MemberJob, out: Path) -> MemberJob:
    embed.main(lower_job(job), one_rank(out))
    return job.model_copy(update={"lower": out})


def member_job(inputs: Inputs, base: Path, member: MemberConfig, **settings: Any) -> MemberJob:
    """A training slow enough that rounding stays what it is."""
    rates = {"learning_rate": 1e-3, "head": {"learning_rate": 3e-3}}
    given = {"adapter": LORA, "epochs": 1, "collapse_below": 0, **rates, **settings}
    given["max_labelled_admissions"] = 120
    chunk = given.pop("chunk", None)
    weights = {"clinical": 0.5} if member.summands else {}
    job = inputs.job(member, **given)
    return job.model_copy(update={"base": base, "chunk": chunk, "weights": weights})


def losses(folder: Path) -> list[float]:
    loss = pq.read_table(folder / "history.parquet")["loss"].drop_null()
    return loss.to_pylist()


def logits(folder: Path, variant: str) -> np.ndarray:
    path = folder / variant / "diagnoses" / "test.parquet"
    return np.array(pq.read_table(path)["logits"].to_pylist())


@pytest.mark.parametrize(
    ("base", "member", "settings"),
    [
        ("decoder", UNFUSED, {"freeze_below": 4}),
        ("decoder", UNFUSED, {"freeze_below": 3, "adapter": "full", "chunk": 24}),
        ("encoder", UNFUSED, {"freeze_below": 5}),
        ("fused", FUSED, {"freeze_below": 1}),
    ],
    ids=["decoder", "decoder in chunks, full", "encoder in chunks", "beside a summand"],
)
def test_losses_and_predictions_are_those_of_computing_all_layers(
    inputs: Inputs,
    bases: dict[str, Path],
    process_group: None,
    tmp_path: Path,
    base: str,
    member: MemberConfig,
    settings: dict[str, Any],
) -> None:
    job = member_job(inputs, bases[base], member, **settings)
    assert Study.read(job).inputs.lengths.max() > 24, "some are read in chunks"
    for name, each in (("anew", job), ("kept", with_lower(job, tmp_path / "lower"))):
        train.main(each, one_rank(tmp_path / name))
        predicting = _predicting(member, each, tmp_path / name)
        predict.main(predicting, one_rank(tmp_path / f"{name}-predicted"))
    anew, kept = losses(tmp_path / "anew"), losses(tmp_path / "kept")
    np.testing.assert_allclose(kept, anew, rtol=1e-3)
    variants = [variant.name for variant in predicting.variants]
    assert len(variants) == (3 if member.summands else 1)
    for variant in variants:
        np.testing.assert_allclose(
            logits(tmp_path / "kept-predicted", variant),
            logits(tmp_path / "anew-predicted", variant),
            atol=5e-3,
            err_msg=variant,
        )


def test_lower_layers_are_not_computed_and_upper_ones_are(
    inputs: Inputs, bases: dict[str, Path], world: World, tmp_path: Path
) -> None:
    job = with_lower(member_job(inputs, bases["decoder"], UNFUSED, freeze_below=3), tmp_path / "x")
    study = Study.read(job)
    model = build(study, world)
    assert isinstance(model, Classifier)
    called = []
    _, layers = stack_of(model.base.model, "")
    for index, layer in enumerate(layers):
        layer.self_attn.register_forward_hook(lambda *_, index=index: called.append(index))
    ids, present, leaving = (torch.from_numpy(a) for a in study.inputs.padded(np.arange(3)))
    model(ids, present, leaving)
    assert called == [3, 4]
    model(ids, present)
    assert called == [3, 4, 0, 1, 2, 3, 4]


def test_activations_computed_twice_teach_the_same(
    inputs: Inputs, bases: dict[str, Path], process_group: None, tmp_path: Path
) -> None:
    job = member_job(inputs, bases["decoder"], UNFUSED, freeze_below=3, epochs=1)
    job = with_lower(job, tmp_path / "lower")
    for twice in (False, True):
        training = job.config.training.model_copy(update={"gradient_checkpointing": twice})
        config = job.config.model_copy(update={"training": training})
        train.main(job.model_copy(update={"config": config}), one_rank(tmp_path / str(twice)))
    np.testing.assert_allclose(losses(tmp_path / "True"), losses(tmp_path / "False"), rtol=1e-5)


def test_states_of_other_layers_are_refused(
    inputs: Inputs, bases: dict[str, Path], world: World, tmp_path: Path
) -> None:
    """As they are where upper layers read more than the states of those below."""
    job = with_lower(member_job(inputs, bases["decoder"], UNFUSED, freeze_below=2), tmp_path / "2")
    config = job.config.model_copy(update={"freeze_below": 3})
    with pytest.raises(ModelError, match=r"LlamaForCausalLM do not go on from .*max_gib to 0"):
        build(Study.read(job.model_copy(update={"config": config})), world)


@pytest.mark.parametrize("base", ["decoder", "encoder"])
def test_what_they_take_is_told_before_the_base_is_loaded(
    inputs: Inputs, bases: dict[str, Path], process_group: None, tmp_path: Path, base: str
) -> None:
    job = lower_job(member_job(inputs, bases[base], UNFUSED, freeze_below=2))
    embed.main(job, one_rank(tmp_path / "lower"))
    states = States.read(tmp_path / "lower")
    assert tokens_kept(job) == states.lengths.sum()
    size = sum(values.nbytes for values in states.values) / GIB
    check_room(tmp_path, job, StatesConfig(max_gib=1.01 * size))
    with pytest.raises(ConfigError, match=r"leave the 2 layers of finetune\.freeze_below.*to 0"):
        check_room(tmp_path, job, StatesConfig(max_gib=0.99 * size))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"freeze_below": 1}, True),
        ({}, False),
        ({"freeze_below": 1, "states": {"max_gib": 0}}, False),
        ({"freeze_below": 1, "members": [{"name": "a", "summands": [{"fusion": "gated"}]}]}, False),
        ({"freeze_below": 1, "members": [{"name": "a", "summands": [{"fusion": "merged"}]}]}, True),
    ],
    ids=str,
)
def test_they_are_kept_where_nothing_changes_them_and_shared(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], kept: bool
) -> None:
    asked: list[EmbedJob] = []

    def embedded(job: EmbedJob, states: StatesConfig, launch: LaunchConfig) -> Artifact:
        asked.append(job)
        return Artifact("states", "key", "digest", {})

    monkeypatch.setattr("tasks.finetune.stage.embed_notes", embedded)
    jobs: list[MemberJob] = []
    config = FinetuneConfig.model_validate({"adapter": LORA, "joint": False, **given})
    training = Training(
        config,
        LaunchConfig(),
        inputs.base,
        None,
        {"clinical": inputs.clinical},
        inputs.tokenizer,
        inputs.encoded,
    )
    member = config.members[0]
    for seed in (0, 1):
        again = config.training.model_copy(update={"seed": seed})
        seeded = replace(training, config=config.model_copy(update={"training": again}))
        for outcome in ("diagnoses", "mortality"):
            outcomes = {outcome: getattr(inputs, outcome)}
            jobs.append(seeded._job(member, outcomes, {"clinical": 0.5}, frozen=False))
    assert len(jobs) == 4
    assert [job.lower is not None for job in jobs] == [kept] * 4
    assert all(job == asked[0] for job in asked), "outcomes and seeds share one artifact"
    assert len(asked) == 4 * kept
