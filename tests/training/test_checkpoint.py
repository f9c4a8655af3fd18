"""A checkpoint counts as it was written: damaged, it is not loaded; no code is in it; any number of
ranks at any ZeRO stage goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import TrainingError
from tasks.launch import LaunchConfig, launch
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine, seed_all
from tasks.training.loop import Trained, train
from tasks.training.program import Preempted, World
from tests.training.test_loop import DEEPSPEED, SETTINGS
from tests.training.toy import Toy, ToyArm, ToyJob, ToyLesson, rate_of, train_toy

STAGES = {
    "zero2": None,
    **{name: DEEPSPEED / f"{name}.json" for name in ("zero0", "zero1", "zero3")},
    **{name: DEEPSPEED / f"{name}.json" for name in ("offload-zero2", "offload-zero3")},
}
JUDGED = {1: 0.5, 3: 0.4}
stages = pytest.mark.parametrize("deepspeed", STAGES.values(), ids=STAGES)


class Planted:
    """Unpickled without care, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def arm(
    deepspeed: Path | None = None, precision: Literal["fp32", "bf16", "auto"] = "auto"
) -> ToyArm:
    training = TrainingConfig(
        **SETTINGS, checkpoint_every_steps=1, deepspeed=deepspeed, precision=precision
    )
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
    found = sorted(folder.glob("step-*/rank-*.safetensors"))
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
def test_a_stopped_training_goes_on_exactly(
    world: World, whole: Callable[[ToyArm], Trained], deepspeed: Path | None
) -> None:
    job = arm(deepspeed)
    expected = whole(job)
    folder = interrupted(world, job, steps=3)
    assert [path.name for path in folder.glob("step-*")] == ["step-00000003"]
    trained = train_toy(job, world)
    assert beginning(world) == "resumed from step 3"
    assert_equal(trained, expected)


@pytest.mark.parametrize("stage", ["zero0", "zero2", "zero3"])
def test_the_optimizers_weights_come_back_where_the_models_are_rounded(
    world: World, whole: Callable[[ToyArm], Trained], stage: str
) -> None:
    job = arm(STAGES[stage], precision="bf16")
    expected = whole(job)
    interrupted(world, job)
    trained = train_toy(job, world)
    assert beginning(world) == "resumed from step 2"
    assert_equal(trained, expected)


def test_another_zero_stage_goes_on(world: World, whole: Callable[[ToyArm], Trained]) -> None:
    expected = whole(arm())
    for stage in ("zero3", "zero1", "zero0"):
        interrupted(world, arm(STAGES[stage]), steps=1)
    trained = train_toy(arm(), world)
    assert beginning(world) == "resumed from step 3"
    for name, tensor in expected.state.items():
        torch.testing.assert_close(trained.state[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_two_ranks_saved_one_and_four_go_on_with(world: World, tmp_path: Path) -> None:
    """At every ZeRO stage, with the losses of a run that one rank took through."""
    arms = tuple(
        ToyArm(
            name=name,
            training=TrainingConfig(**SETTINGS, micro_batch_size=2, deepspeed=deepspeed),
            steps=6,
        )
        for name, deepspeed in STAGES.items()
    )
    two, four = (LaunchConfig(ranks=ranks, threads_per_rank=1) for ranks in (2, 4))
    expected = [
        row["loss"]
        for row in train_toy(arms[0].model_copy(update={"name": "whole"}), world).history
    ]
    launch("tests.training.stopped", ToyJob(arms=arms), tmp_path, two)
    shutil.copytree(tmp_path / "checkpoints", world.work / "checkpoints", dirs_exist_ok=True)
    for job in arms:
        losses = [row["loss"] for row in train_toy(job, world).history]
        assert beginning(world) == "resumed from step 3, which 2 ranks had saved"
        assert losses == pytest.approx(expected, rel=1e-5), job.name
    launch("tests.training.toy", ToyJob(arms=arms), tmp_path, four)
    for job in arms:
        losses = load_file(tmp_path / f"{job.name}.losses")["losses"].tolist()
        assert losses == pytest.approx(expected, rel=1e-5), job.name
    lines = (tmp_path / "progress.jsonl").read_text().splitlines()
    notes = [json.loads(line)["note"] for line in lines]
    assert [note for note in notes if note] == [
        "resumed from step 3, which 2 ranks had saved" for _ in arms
    ]


def test_buffers_that_change_in_training_come_back(world: World) -> None:
    """As AdaLoRA's averages of what each direction is worth."""

    class Counting(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))
            self.register_buffer("of_this_run", torch.zeros(1), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.calls += 1
                self.of_this_run += 1
            return super().forward(x)

    job = arm()
    world.told_to_stop = True
    for _ in range(2):
        with pytest.raises(Preempted):
            train(Counting(), ToyLesson(job, 0), job.training, world)
    world.told_to_stop = False
    model = Counting()
    train(model, ToyLesson(job, 0), job.training, world)
    assert (model.calls.item(), model.of_this_run.item()) == (6, 4)


@stages
def test_nothing_in_a_checkpoint_could_be_code(
    world: World, monkeypatch: pytest.MonkeyPatch, deepspeed: Path | None
) -> None:
    job = arm(deepspeed)
    folder = interrupted(world, job)
    assert {path.suffix for path in folder.rglob("*.*")} == {".safetensors", ".json"}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle is loaded")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refuse)
    train_toy(job, world)
    assert beginning(world) == "resumed from step 2"


def test_a_pickle_that_was_planted_is_not_loaded_even_if_the_mark_vouches_for_it(
    world: World,
) -> None:
    job = arm()
    folder = interrupted(world, job)
    for number, shard in enumerate(shards(folder)):
        original = shard.read_bytes()
        shard.write_bytes(pickle.dumps(Planted(world.work / f"pickle-{number}")))
        vouch_for(folder)
        with pytest.raises(TrainingError, match="is none of this model; delete that folder"):
            train_toy(job, world)
        torch.save({"module": Planted(world.work / f"saved-{number}")}, shard)
        vouch_for(folder)
        with pytest.raises(TrainingError, match="is none of this model; delete that folder"):
            train_toy(job, world)
        shard.write_bytes(original)
    torch.save({"module": Planted(world.work / "beside")}, shard.with_name("rank-0001.pt"))
    vouch_for(folder)
    train_toy(job, world)
    assert beginning(world) == "resumed from step 2"
    assert not [*world.work.glob("pickle-*"), *world.work.glob("saved-*")]
    assert not (world.work / "beside").exists()


def test_a_checkpoint_of_another_model_is_not_loaded(world: World) -> None:
    job = arm()
    folder = interrupted(world, job)
    [shard] = shards(folder)
    tensors = load_file(shard)
    starts = dict.fromkeys((name.partition(":")[2] for name in tensors), 0)
    save_file(
        {name: tensor[1:] for name, tensor in tensors.items()},
        shard,
        {"starts": json.dumps(starts)},
    )
    vouch_for(folder)
    with pytest.raises(TrainingError, match="is none of this model; delete that folder"):
        train_toy(job, world)


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
    shards(folder)[0].with_name("rank-0001.safetensors").write_bytes(b"?")


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


def test_fp16s_loss_scale_is_counted_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No CPU computes in fp16: the scaler of a GPU is put into an engine of a CPU."""
    from deepspeed.runtime.fp16.loss_scaler import CreateLossScaler

    names = ("init_scale", "scale_window", "min_scale", "delayed_shift", "consecutive_hysteresis")
    seed_all(0)
    engine = Engine.build(Toy(), TrainingConfig(), world, rate_of)
    try:
        for overflows in (3, 0):
            scaler = CreateLossScaler(torch.half, 0, True, dict.fromkeys(names, 2))
            monkeypatch.setattr(engine.model.optimizer, "loss_scaler", scaler)
            if overflows:
                scaler.cur_scale, scaler.cur_iter, scaler.last_overflow_iter = 64.0, 9, 7
                engine.model.skipped_steps = overflows
                counted, expected = engine.counters(), dict(vars(scaler))
        engine.model.skipped_steps = 0
        engine.count_on(json.loads(json.dumps(counted)))
        assert vars(scaler) == expected
        assert engine.skipped_steps == 3
    finally:
        engine.close()
