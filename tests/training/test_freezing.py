"""In a step only the matrices learn that moved most when they last did, and all have their turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.errors import ConfigError
from tasks.finetune.config import FinetuneConfig
from tasks.finetune.jobs import MemberJob
from tasks.finetune.lesson import MemberLesson
from tasks.finetune.members import UNFUSED
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.model.adapters.allows import check_freezing
from tasks.training.config import FreezingConfig, TrainingConfig
from tasks.training.loop import Trained
from tasks.training.program import Preempted, World
from tasks.training.watchers.freezing import Freezing
from tests.finetune.conftest import Inputs, inputs
from tests.finetune.test_train import fitted

__all__ = ["inputs"]  # a fixture
CONFIGS = Path(__file__).parents[2] / "configs" / "deepspeed"


def job_of(inputs: Inputs, adapter: Any, **settings: Any) -> MemberJob:
    given = {
        "adapter": adapter,
        "learning_rate": 3e-3 if adapter == "full" else 2e-2,
        "head": {"learning_rate": 1e-4},
        "freezing": {"share": 0.8},
        "epochs": 6,
        "max_labelled_admissions": 40,
        "collapse_below": 0,
    }
    return inputs.job(UNFUSED, **(given | settings))


def trained(job: MemberJob, world: World, recorded: list[Any] | None = None) -> Trained:
    """Recorded: of each step, what may learn, and what moved."""
    study = Study.read(job)
    model = build(study, world)
    assert job.config.training.freezing
    stepped, differentiated = Freezing.stepped, Freezing.differentiated

    def before(self: Freezing, run: Any) -> None:
        differentiated(self, run)
        self.prints = run.engine.fingerprints(trained=True)  # type: ignore[attr-defined]

    def after(self: Freezing, run: Any, step: Any) -> None:
        here = run.engine.fingerprints(trained=True)
        moved = {name for name in here if here[name] != self.prints[name]}  # type: ignore[attr-defined]
        graded = {name for name, p in run.engine.names.items() if p.requires_grad}
        if recorded is not None:
            recorded.append((set(self.matrices), set(run.engine.still), graded, moved))
        stepped(self, run, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Freezing, "differentiated", before)
        patched.setattr(Freezing, "stepped", after)
        return fitted(study, model, world)


@pytest.mark.parametrize("deepspeed", [None, CONFIGS / "zero0.json"], ids=["zero2", "zero0"])
@pytest.mark.parametrize("adapter", ["full", {"kind": "lora", "rank": 4}], ids=["full", "lora"])
def test_what_is_still_does_not_move_and_the_rest_learns(
    inputs: Inputs, world: World, adapter: Any, deepspeed: Path | None
) -> None:
    steps: list[Any] = []
    result = trained(job_of(inputs, adapter, deepspeed=deepspeed), world, steps)
    turns: set[str] = set()
    for matrices, still, graded, moved in steps:
        assert len(still) == int(0.8 * len(matrices))
        assert graded.isdisjoint(still)
        assert moved.isdisjoint(still)
        turns |= moved & matrices
    assert turns == steps[0][0], "each matrix has learned"
    losses = [row["loss"] for row in result.history if row["loss"] is not None]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.01


def test_what_moved_most_learns_next() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    names = [name for name, _ in model.named_parameters()]
    freezing = Freezing(model, names, FreezingConfig(share=0.5, epsilon=0.5), seed=0)
    assert freezing.matrices == [f"{index}.weight" for index in range(4)]
    engine = _Engine(dict(model.named_parameters()))
    run: Any = type("Run", (), {"engine": engine})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    freezing.begin(run)
    for moves in ({0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4},) * 2:
        freezing.differentiated(run)
        with torch.no_grad():
            for index, move in moves.items():
                if f"{index}.weight" not in engine.still:
                    model[index].weight.add_(move)
        freezing.stepped(run, None)  # type: ignore[arg-type]
    # both halves have had a turn: |dW| / (|W| + epsilon) = move / 1
    torch.testing.assert_close(freezing.scores.last, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert engine.still == {"0.weight", "1.weight"}
    freezing.differentiated(run)
    freezing.stepped(run, None)  # type: ignore[arg-type]
    assert freezing.scores.last[2:].tolist() == pytest.approx([0.15, 0.2]), "did not move: halved"


class _Engine:
    def __init__(self, names: dict[str, nn.Parameter]) -> None:
        self.names, self.still = names, frozenset[str]()

    def keep_still(self, names: frozenset[str]) -> None:
        self.still = names


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    inputs: Inputs, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(inputs, "full", epochs=2)
    whole = trained(job, world)
    (tmp_path / "stopped").mkdir()
    stopped = replace(world, work=tmp_path / "stopped")
    prepared = MemberLesson.prepared

    def told(self: MemberLesson, micro: Any) -> Any:
        stopped.told_to_stop = True
        return prepared(self, micro)

    with monkeypatch.context() as patched:
        patched.setattr(MemberLesson, "prepared", told)
        for _ in range(3):  # a step each
            with pytest.raises(Preempted):
                trained(job, stopped)
            stopped.told_to_stop = False
    again = trained(job, stopped)
    for name, tensor in whole.state.items():
        assert torch.equal(tensor, again.state[name]), name


def test_what_cannot_be_frozen_so_is_refused() -> None:
    zero3 = TrainingConfig(deepspeed=CONFIGS / "zero3.json")
    with pytest.raises(ConfigError, match=r"freezing looks at whole matrices, .* is ZeRO-3"):
        check_freezing(zero3)
    check_freezing(TrainingConfig())
    for adapter in (None, "bitfit", "prompt", "adalora"):
        with pytest.raises(ValueError, match=r"training\.freezing is about matrices, but adapter"):
            FinetuneConfig.model_validate({"adapter": adapter, "training": {"freezing": {}}})
    model = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"keeps 0\.9 of 1 matrices still, which is none"):
        Freezing(model, ["weight", "bias"], FreezingConfig(), 0)
