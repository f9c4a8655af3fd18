"""A checkpoint counts as it was written: damaged, it is not loaded; and it never runs code."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.errors import TrainingError
from tasks.training.checkpoint import _tensors_only
from tasks.training.config import TrainingConfig
from tasks.training.loop import Trained
from tasks.training.program import Preempted, World
from tests.training.test_loop import DEEPSPEED, SETTINGS
from tests.training.toy import ToyArm, train_toy

STAGES = {"zero2": None, "zero0": DEEPSPEED / "zero0.json", "zero3": DEEPSPEED / "zero3.json"}
JUDGED = {1: 0.5, 3: 0.4}
stages = pytest.mark.parametrize("deepspeed", STAGES.values(), ids=STAGES)


class Planted:
    """Unpickled without care, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def arm(deepspeed: Path | None = None) -> ToyArm:
    training = TrainingConfig(**SETTINGS, checkpoint_every_steps=1, deepspeed=deepspeed)
    return ToyArm(training=training, steps=6, judged=JUDGED)


def interrupted(world: World, job: ToyArm, steps: int = 2) -> Path:
    """The folder of checkpoints of a training that was stopped after a few steps."""
    world.told_to_stop = True  # stops after each step, having saved
    for _ in range(steps):
        with pytest.raises(Preempted):
            train_toy(job, world)
    world.told_to_stop = False
    return world.work / "checkpoints" / job.name


def shards(folder: Path) -> list[Path]:
    found = sorted(folder.glob("step-*/*.pt"))
    assert found
    return found


def vouch_for(folder: Path) -> None:
    """Write the hashes of what is there now into the mark, as whoever can write there could."""
    mark = folder / "latest.json"
    fields = json.loads(mark.read_text())
    fields["files"] = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("step-*/*")
    }
    mark.write_text(json.dumps(fields))


def beginning(world: World) -> str:
    """How the last training said that it began."""
    lines = (world.work / "progress.jsonl").read_text().splitlines()
    notes = [json.loads(line)["note"] for line in lines]
    return [note for note in notes if note][-1]


def assert_equal(trained: Trained, expected: Trained) -> None:
    assert [row["loss"] for row in trained.history] == [row["loss"] for row in expected.history]
    assert (trained.best_step, trained.best_value) == (expected.best_step, expected.best_value)
    for name, tensor in expected.state.items():
        assert torch.equal(trained.state[name], tensor), name


@pytest.fixture
def whole(world: World) -> Callable[[ToyArm], Trained]:
    """The same training, not interrupted."""
    return lambda job: train_toy(job.model_copy(update={"name": "whole"}), world)


@stages
def test_a_checkpoint_is_read_without_running_code(
    world: World, whole: Callable[[ToyArm], Trained], deepspeed: Path | None
) -> None:
    job = arm(deepspeed)
    expected = whole(job)
    interrupted(world, job)
    trained = train_toy(job, world)
    assert beginning(world) == "resumed from step 2"
    assert_equal(trained, expected)


@stages
def test_code_that_was_planted_is_not_run_even_if_the_mark_vouches_for_it(
    world: World, deepspeed: Path | None
) -> None:
    job = arm(deepspeed)
    folder = interrupted(world, job)
    for number, shard in enumerate(shards(folder)):
        original = shard.read_bytes()
        shard.write_bytes(pickle.dumps(Planted(world.work / f"pickle-{number}")))
        vouch_for(folder)
        with pytest.raises(TrainingError, match="holds more than tensors and was not loaded"):
            train_toy(job, world)
        torch.save({"module": Planted(world.work / f"saved-{number}")}, shard)
        vouch_for(folder)
        with pytest.raises(TrainingError, match="holds more than tensors and was not loaded"):
            train_toy(job, world)
        shard.write_bytes(original)
    assert not list(world.work.glob("pickle-*"))
    assert not list(world.work.glob("saved-*"))
    vouch_for(folder)
    train_toy(job, world)
    assert beginning(world) == "resumed from step 2"


def flip(folder: Path) -> None:
    path = shards(folder)[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(folder: Path) -> None:
    os.truncate(shards(folder)[0], 100)


def lose(folder: Path) -> None:
    shards(folder)[0].unlink()


def add(folder: Path) -> None:
    shards(folder)[0].with_name("mp_rank_01_model_states.pt").write_bytes(b"?")


def change_the_best(folder: Path) -> None:
    [path] = folder.glob("step-*/best.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose_the_hashes(folder: Path) -> None:
    """As an earlier version wrote it."""
    mark = folder / "latest.json"
    fields = json.loads(mark.read_text())
    del fields["files"]
    mark.write_text(json.dumps(fields))


def tear_the_mark(folder: Path) -> None:
    (folder / "latest.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [flip, truncate, lose, add, change_the_best, lose_the_hashes, tear_the_mark]
)
def test_from_a_damaged_checkpoint_training_starts_anew_and_says_so(
    world: World, whole: Callable[[ToyArm], Trained], damage: Callable[[Path], None]
) -> None:
    job = arm()
    expected = whole(job)
    damage(interrupted(world, job))
    trained = train_toy(job, world)
    assert beginning(world) == "started anew, since its checkpoint is damaged"
    assert_equal(trained, expected)


def test_the_best_so_far_goes_from_checkpoint_to_checkpoint(
    world: World, whole: Callable[[ToyArm], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged best after the first step, through resumed runs, on a file system without links."""

    def refuse(*paths: Path) -> None:
        raise OSError(1, "Operation not permitted")

    job = arm()
    expected = whole(job)
    interrupted(world, job, steps=2)
    monkeypatch.setattr(os, "link", refuse)
    interrupted(world, job, steps=2)
    trained = train_toy(job, world)
    assert beginning(world) == "resumed from step 4"
    assert (trained.best_step, trained.best_value) == (1, 0.5)
    assert_equal(trained, expected)


def test_a_damaged_result_of_a_finished_arm_is_trained_anew(world: World) -> None:
    job = arm()
    expected = train_toy(job, world)
    path = world.work / "checkpoints" / job.name / "trained.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = train_toy(job, world)
    assert beginning(world) == "started anew, since its result is damaged"
    assert_equal(again, expected)


def test_what_deepspeed_adds_on_a_gpu_can_be_read_too(tmp_path: Path) -> None:
    """In fp16, which no CPU computes in, the loss scaler is another one."""
    from deepspeed.runtime.fp16.loss_scaler import CreateLossScaler

    path = tmp_path / "scaler.pt"
    names = ("init_scale", "scale_window", "min_scale", "delayed_shift", "consecutive_hysteresis")
    scaler = CreateLossScaler(torch.half, 0, True, dict.fromkeys(names, 2))
    assert scaler.dynamic
    torch.save({"loss_scaler": scaler}, path)
    with _tensors_only():
        found = torch.load(path, weights_only=False)["loss_scaler"]
    assert vars(found) == vars(scaler)


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    before = dict(os.environ)
    with _tensors_only():
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
    assert dict(os.environ) == before
