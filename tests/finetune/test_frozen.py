"""Heads on the states of a frozen trunk: what is kept, what is chosen, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.data.states import States, read_titles
from tasks.errors import ConfigError
from tasks.finetune import embed, predict, train
from tasks.finetune.config import FinetuneConfig, StatesConfig
from tasks.finetune.jobs import EmbedJob, MemberJob
from tasks.finetune.lesson import mean_macro_auroc
from tasks.finetune.members import FUSED, WEIGHT, WEIGHTS, SummandConfig
from tasks.finetune.room import check_room
from tasks.finetune.stage import Training, _predicting
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.bases.files import width_of
from tasks.model.bases.load import load_base
from tasks.model.heads.config import HeadShape
from tasks.model.heads.heads import Heads
from tasks.model.score import score
from tasks.model.trunk import Summand, freeze
from tasks.training.program import World
from tests.finetune.conftest import HADM_IDS, Inputs
from tests.finetune.test_train import one_rank

HEAD = {
    "scaling": "centered",
    "query_size": 4.0,
    "weight_size": 0.3,
    "learning_rate": 3e-2,
    "token_dropout": 0.2,
}


def embed_job(inputs: Inputs, weight: float, **of_what: object) -> EmbedJob:
    return EmbedJob(
        base=inputs.base,
        summands={"clinical": inputs.clinical},
        weights={"clinical": weight},
        tokenizer=inputs.tokenizer,
        precision="fp32",
        **of_what,
    )


@pytest.fixture(scope="module")
def kept(
    inputs: Inputs, process_group: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The folders of the notes' states and of the titles'."""
    root = tmp_path_factory.mktemp("states")
    embed.main(embed_job(inputs, 0.5, encoded=inputs.encoded), one_rank(root / "states"))
    outcomes = {"diagnoses": inputs.diagnoses, "mortality": inputs.mortality}
    embed.main(embed_job(inputs, 0.5, outcomes=outcomes), one_rank(root / "titles"))
    return root / "states", root / "titles"


def member_job(inputs: Inputs, kept: tuple[Path, Path], **settings: object) -> MemberJob:
    given = {"adapter": None, "head": HEAD, "epochs": 20, "learning_rate": 1e-3, **settings}
    states, titles = kept
    job = inputs.job(**given)
    return job.model_copy(update={"states": states, "titles": titles, "weights": {"clinical": 0.5}})


def test_what_is_kept_is_what_the_trunk_says(inputs: Inputs, kept: tuple[Path, Path]) -> None:
    states = States.read(kept[0])
    trunk = freeze(load_base(inputs.base), [Summand("clinical", inputs.clinical, weight=0.5)])
    notes = Study.read(inputs.job()).inputs
    assert states.hadm_ids.tolist() == notes.hadm_ids.tolist() == list(HADM_IDS)
    assert states.lengths.tolist() == notes.lengths.tolist()
    assert states.splits == notes.splits
    rows = np.array([3, 70, 399])
    ids, present = (torch.from_numpy(array) for array in notes.padded(rows))
    read, there = states.padded(rows)
    with torch.no_grad():
        expected = trunk.states(ids, present)
    assert there.tolist() == present.tolist()
    torch.testing.assert_close(
        torch.from_numpy(read).float()[present], expected[present], rtol=2e-3, atol=2e-3
    )
    titles = read_titles(kept[1])
    assert set(titles) == {"Heart failure", "Calculus of kidney"}


def test_states_that_were_begun_are_gone_on_with(inputs: Inputs, tmp_path: Path) -> None:
    """A run that is killed leaves whole parts; the next one makes the others, to the same bytes."""
    job = embed_job(inputs, 1.0, encoded=inputs.encoded)
    embed.main(job, one_rank(tmp_path / "whole"))
    world = one_rank(tmp_path / "killed")
    whole = sorted((tmp_path / "whole" / "states").iterdir())
    assert len(whole) > 3
    begun = world.work / "states"
    begun.mkdir()
    for path in whole[:2]:
        (begun / path.name).write_bytes(path.read_bytes())
    stamps = {path.name: path.stat().st_mtime_ns for path in begun.iterdir()}
    embed.main(job, world)
    again = sorted((tmp_path / "killed" / "states").iterdir())
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in whole]
    for name, stamp in stamps.items():
        assert (tmp_path / "killed" / "states" / name).stat().st_mtime_ns == stamp


def test_heads_learn_on_states_and_predict(
    inputs: Inputs, kept: tuple[Path, Path], process_group: None, tmp_path: Path
) -> None:
    job = member_job(inputs, kept)
    train.main(job, one_rank(tmp_path / "fused"))
    assert not (tmp_path / "fused" / "adapter_model.safetensors").exists()
    counts = json.loads((tmp_path / "fused" / "work" / "counts.json").read_text())
    assert counts["validation"] > 0.8
    predicting = _predicting(FUSED, job, tmp_path / "fused")
    assert [variant.name for variant in predicting.variants] == ["fused"]
    predict.main(predicting, one_rank(tmp_path / "predicted"))
    assert (tmp_path / "predicted" / "fused" / "diagnoses" / "test.parquet").is_file()


@pytest.mark.parametrize(
    "head", [HEAD | {"queries": "tied"}, {"kind": "gated_residual", "pool": "attention"}], ids=str
)
def test_any_head_goes_through_the_program_and_is_saved_whole(
    inputs: Inputs, kept: tuple[Path, Path], world: World, tmp_path: Path, head: dict[str, object]
) -> None:
    job = member_job(inputs, kept, head=head, epochs=2, collapse_below=0)
    train.main(job, one_rank(tmp_path / "fused"))
    counts = json.loads((tmp_path / "fused" / "work" / "counts.json").read_text())
    again = Heads()
    again.read(tmp_path / "fused")
    study = Study.read(job)
    logits = score(again.eval(), study.inputs, study.validation_rows, world)
    value = mean_macro_auroc(logits, study.outcomes, study.validation_rows)
    assert value == pytest.approx(counts["validation"], abs=1e-6)


def test_the_mean_logit_starts_at_the_base_rate(
    inputs: Inputs, kept: tuple[Path, Path], world: World
) -> None:
    study = Study.read(member_job(inputs, kept))
    model = build(study, world)
    model.eval()
    logits = score(model, study.inputs, study.train_rows, world)
    for outcome in study.outcomes:
        positives = outcome.positives(study.train_rows)
        observed = outcome.observed(study.train_rows)
        cases = (positives & observed).sum(axis=0) + 1
        controls = (observed & ~positives).sum(axis=0) + 1
        rates = np.log(cases / controls)
        np.testing.assert_allclose(logits[outcome.name].mean(axis=0), rates, atol=0.02)


def test_no_step_of_training_reads_the_whole_note() -> None:
    """Dropped tokens differ from step to step, and none is dropped when it predicts."""
    shape = {"outcome": "a", "hidden": 8, "labels": (("s", "1"), ("s", "2")), "head": HEAD}
    heads = Heads([HeadShape.model_validate(shape)])
    states = torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0))
    present = torch.ones(3, 50, dtype=torch.bool)
    present[2, 1:] = False
    heads.train()
    torch.manual_seed(0)
    draws = [heads(states, present)["a"] for _ in range(3)]
    assert not torch.equal(draws[0][:2], draws[1][:2])
    assert torch.equal(draws[0][2], draws[1][2]), "a note's only token is always read"
    heads.eval()
    assert torch.equal(heads(states, present)["a"], heads(states, present)["a"])


def test_states_that_take_too_much_are_refused_before_the_base_is_loaded(inputs: Inputs) -> None:
    job = embed_job(inputs, 1.0, encoded=inputs.encoded)
    with pytest.raises(ConfigError, match=r"GiB, and finetune\.states\.max_gib is 1e-06; raise it"):
        check_room(inputs.root, job, StatesConfig(max_gib=1e-6))
    check_room(inputs.root, job, StatesConfig())
    tokens = int(Study.read(inputs.job()).inputs.lengths.sum())
    just_enough = StatesConfig(max_gib=1.01 * tokens * width_of(inputs.base) * 2 / 2**30)
    check_room(inputs.root, job, just_enough)
    with pytest.raises(ConfigError, match="raise it"):  # joined with words they are twice as large
        check_room(inputs.root, job.model_copy(update={"words": True}), just_enough)


def test_a_trained_summand_needs_a_task_adapter() -> None:
    member = {"name": "sum", "summands": [{"adapter": "clinical", "fusion": "trained"}]}
    with pytest.raises(ValueError, match="adapter is null, which freezes the trunk"):
        FinetuneConfig.model_validate({"adapter": None, "members": [member]})


def test_which_weights_are_tried() -> None:
    assert SummandConfig().weights(frozen_trunk=True) == WEIGHTS
    assert SummandConfig().weights(frozen_trunk=False) == (WEIGHT,)
    assert SummandConfig(fusion="trained").weights(frozen_trunk=False) == (1.0,)
    assert SummandConfig(weight=0.5).weights(frozen_trunk=True) == (0.5,)
    assert SummandConfig(weight=(0.5, 1.0)).weights(frozen_trunk=False) == (0.5, 1.0)
    with pytest.raises(ValueError, match="name each weight once"):
        SummandConfig(weight=(0.5, 0.5))


def test_a_weight_of_0_is_tried_by_the_member_that_has_no_summands(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is trained once."""
    values = {"adapted": 0.7, "plain": 0.6}
    jobs: list[MemberJob] = []

    def train_it(self: Training, job: MemberJob) -> Artifact:
        jobs.append(job)
        return Artifact("task-adapter", "key", "digest", {"validation": values[job.member]})

    monkeypatch.setattr(Training, "_with_states", lambda self, job: job)
    monkeypatch.setattr(Training, "_train", train_it)
    adapted = {"name": "adapted", "summands": [{"adapter": "clinical", "weight": [0, 0.5]}]}
    plain = {"name": "plain", "summands": []}
    config = FinetuneConfig.model_validate({"adapter": None, "members": [adapted, plain]})
    summands = {"clinical": inputs.clinical}
    training = Training(
        config, LaunchConfig(), inputs.base, None, summands, inputs.tokenizer, inputs.encoded
    )
    outcomes = {"diagnoses": inputs.diagnoses}
    with_summand, alone = (training.member(each, outcomes) for each in config.members)
    assert with_summand.weights == {"clinical": 0.5}
    assert [job.member for job in jobs] == ["plain", "adapted", "adapted", "plain"]
    assert jobs[0] == jobs[3] == alone.job
