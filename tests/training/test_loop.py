"""The loop: what it computes, whatever the ranks, the cut into micro-batches and the ZeRO stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tasks.errors import TrainingError
from tasks.launch import LaunchConfig, launch
from tasks.training.checkpoint import Checkpoints
from tasks.training.config import TrainingConfig
from tasks.training.engine import Engine, seed_all
from tasks.training.lesson import Batch
from tasks.training.loop import train
from tasks.training.program import Preempted, World
from tasks.training.watchers.budget import Budget
from tasks.training.watchers.movement import Movement
from tasks.training.watchers.watcher import Run, Step, Watcher
from tests.training.toy import Toy, ToyArm, ToyJob, ToyLesson, rate_of, row_of, train_toy

DEEPSPEED = Path(__file__).parents[2] / "configs" / "deepspeed"
ZERO3 = DEEPSPEED / "zero3.json"
SETTINGS = {"batch_size": 8, "clip": 0.5, "weight_decay": 0.1, "warmup_share": 0.25}


class Began(Watcher):
    """Notes from which step each training went on."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def begin(self, run: Run) -> None:
        self.steps.append(run.state.step)


class TenSecondsAStep(Watcher):
    """A clock for tests."""

    def judged(self, run: Run, step: Step, value: float) -> None:
        run.state.seconds = 10.0 * run.state.step


def by_hand(job: ToyArm) -> tuple[list[float], dict[str, Tensor]]:
    """The same training in plain torch: AdamW, clipping, warmup and linear decay."""
    seed_all(job.training.seed)
    model, config = Toy(), job.training
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    groups = [
        {
            "params": [each],
            "peak": rate_of(name),
            "weight_decay": config.weight_decay if each.ndim > 1 else 0.0,
        }
        for name, each in trained.items()
    ]
    optimizer = torch.optim.AdamW(groups)
    losses = []
    for step in range(job.steps):
        warmup = int(job.steps * config.warmup_share)
        share = (step + 1) / warmup if step < warmup else 1 - (step - warmup) / (job.steps - warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        rows = range(step * config.batch_size, (step + 1) * config.batch_size)
        x = torch.stack([row_of(row) for row in rows])
        seed_all(config.seed, step, 0)
        loss = (model(x) - x.sum(1, keepdim=True)).square().sum() / config.batch_size
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, {name: each.detach().clone() for name, each in trained.items()}


def test_it_is_adamw_with_warmup_decay_and_clipping(world: World) -> None:
    job = ToyArm(training=TrainingConfig(**SETTINGS), steps=20)
    expected_losses, expected = by_hand(job)
    trained = train_toy(job, world)
    losses = [row["loss"] for row in trained.history]
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert set(trained.state) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(trained.state[name], tensor, rtol=1e-4, atol=1e-6)
    assert (trained.steps, trained.examples, trained.tokens) == (20, 160, 1280)


@pytest.mark.slow
def test_ranks_stages_and_micro_batches_agree(tmp_path: Path, world: World) -> None:
    """One launch trains all arms on two ranks; here is the same on one rank."""
    halves = TrainingConfig(**SETTINGS, micro_batch_size=4)
    arms = {
        "zero2": halves,
        **{
            name: halves.model_copy(update={"deepspeed": DEEPSPEED / f"{name}.json"})
            for name in ("zero0", "zero1", "zero3", "offload-zero2", "offload-zero3")
        },
        # 3 + 3 + 2 rows: the second round has one micro-batch for two ranks
        "uneven": TrainingConfig(**SETTINGS, micro_batch_size=3),
    }
    jobs = tuple(ToyArm(name=name, training=training) for name, training in arms.items())
    launch("tests.training.toy", ToyJob(arms=jobs), tmp_path, LaunchConfig(ranks=2))
    for name in arms:
        training = arms["uneven"] if name == "uneven" else halves
        alone = train_toy(ToyArm(name=f"{name}-alone", training=training), world)
        expected = torch.tensor([row["loss"] for row in alone.history])
        found = load_file(tmp_path / f"{name}.losses")["losses"]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        for key, tensor in load_file(tmp_path / f"{name}.safetensors").items():
            torch.testing.assert_close(tensor, alone.state[key], rtol=1e-4, atol=1e-5)


def test_a_finished_arm_is_not_trained_again(world: World) -> None:
    job = ToyArm(name="done")
    began: list[int] = []
    first = train_toy(job, world, Began(began))
    again = train_toy(job, world, Began(began))
    assert began == [0]
    assert again.history == first.history
    assert all(torch.equal(again.state[name], tensor) for name, tensor in first.state.items())
    assert not list((world.work / "checkpoints" / "done").glob("step-*"))


def test_the_best_judged_state_is_kept_across_a_stop(world: World) -> None:
    judged = {3: 0.5, 6: 0.9, 9: 0.7}
    training = TrainingConfig(**SETTINGS, checkpoint_every_steps=4)
    whole = train_toy(ToyArm(name="whole", judged=judged, training=training), world)
    after_six = train_toy(ToyArm(name="six", training=training, judged={6: 1.0}), world)
    assert (whole.best_step, whole.best_value) == (6, 0.9)
    assert all(torch.equal(after_six.state[key], each) for key, each in whole.state.items())
    values = [row["validation"] for row in whole.history if row["validation"] is not None]
    assert values == [0.5, 0.9, 0.7]

    # judged 0.95 after the last checkpoint (step 8), and lost with what followed it
    lost = {3: 0.5, 6: 0.9, 9: 0.95}
    broken = ToyArm(name="broken", judged=lost, training=training, at_step=9, failure="bug")
    with pytest.raises(ValueError, match="words"):
        train_toy(broken, world)
    resumed = train_toy(broken.model_copy(update={"at_step": -1, "judged": {9: 0.7}}), world)
    assert (resumed.best_step, resumed.best_value) == (6, 0.9)
    assert all(torch.equal(resumed.state[key], each) for key, each in whole.state.items())


def test_a_training_ends_at_the_first_validation_after_its_time(world: World) -> None:
    judged = {3: 0.5, 6: 0.9, 9: 0.7}
    training = TrainingConfig(**SETTINGS, checkpoint_every_steps=4)
    job = ToyArm(name="timed", judged=judged, training=training)
    ended = train_toy(job, world, TenSecondsAStep(), Budget(minutes=40 / 60))
    assert (ended.steps, ended.stopped) == (6, True)
    job = job.model_copy(update={"name": "whole"})
    whole = train_toy(job, world, TenSecondsAStep(), Budget(minutes=None))
    assert (whole.steps, whole.stopped) == (12, False)
    assert (ended.best_step, ended.best_value) == (whole.best_step, whole.best_value) == (6, 0.9)
    assert all(torch.equal(ended.state[key], each) for key, each in whole.state.items())
    again = train_toy(job.model_copy(update={"name": "timed"}), world, Budget(minutes=None))
    assert (again.steps, again.stopped) == (6, True)  # it has ended: taken from its folder


def test_a_training_that_resumes_has_spent_what_it_had_spent(world: World) -> None:
    judged = {3: 0.5, 6: 0.6, 9: 0.7}
    training = TrainingConfig(**SETTINGS, checkpoint_every_steps=4)
    job = ToyArm(name="cut", judged=judged, training=training, slow_seconds=0.02)
    broken = job.model_copy(update={"at_step": 5, "failure": "bug"})
    with pytest.raises(ValueError, match="words"):
        train_toy(broken, world, Budget(None))
    rest = job.model_copy(update={"judged": {6: 0.6, 9: 0.7}, "slow_seconds": 0.0})
    state = Checkpoints(world, "cut")._read("latest.json")
    assert state
    assert state["seconds"] >= 4 * 0.02
    spent = Budget(state["seconds"] / 60)  # which a training from the beginning would not have
    resumed = train_toy(rest, world, spent)
    assert (resumed.steps, resumed.stopped) == (6, True)


def test_a_loss_that_is_not_finite_stops_with_what_to_lower(world: World) -> None:
    class Exploding(ToyLesson):
        def loss(self, model: torch.nn.Module, prepared: tuple[int, Tensor]) -> Tensor:
            return super().loss(model, prepared) * float("nan")

        def batch(self, step: int) -> Batch:
            return super().batch(step)

    with pytest.raises(TrainingError, match=r"step 1; lower learning_rate \(0\.0003 in that"):
        train(Toy(), Exploding(ToyArm(), 0), TrainingConfig(), world)


class Scripted(ToyLesson):
    """Its losses are these numbers, whatever the model computes."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__(ToyArm(steps=len(numbers), training=TrainingConfig(batch_size=1)), 0)
        self.numbers = numbers

    def loss(self, model: torch.nn.Module, prepared: tuple[int, Tensor]) -> Tensor:
        loss = super().loss(model, prepared)
        return loss * (self.numbers[prepared[0]] / loss.detach())


def scattered(mean: float, spread: float, count: int, seed: int = 0) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return (mean * torch.exp(spread * torch.randn(count, generator=generator))).tolist()


def test_a_loss_that_runs_away_stops_with_the_step_and_the_rate(world: World) -> None:
    """Never NaN: as when a language model falls back to the frequency of words."""
    numbers = [*scattered(3, 0.05, 40), *scattered(2.2, 0.05, 60), *scattered(7, 0.05, 100)]
    training = TrainingConfig(batch_size=1, learning_rate=4e-3, schedule="constant")
    with pytest.raises(TrainingError) as raised:
        train(Toy(), Scripted(numbers), training, world)
    told = str(raised.value)
    assert told.startswith("the loss of 'first' diverges: in each of the 20 steps up to step 120")
    assert "lower learning_rate (0.004 in that step) or clip, or raise warmup_share" in told


def test_a_loss_that_scatters_or_is_overlearned_is_let_be(world: World) -> None:
    """Cases in one batch of three, then almost none left to learn; then all of it again."""
    numbers = [
        *scattered(0.3, 1.0, 400),
        *scattered(1e-4, 1.5, 100, seed=1),
        *scattered(2e-3, 1.5, 100, seed=2),
    ]
    assert train(Toy(), Scripted(numbers), TrainingConfig(batch_size=1), world).steps == 600


def test_divergence_is_seen_across_a_stop(world: World) -> None:
    numbers = [*scattered(3, 0.05, 45), *scattered(9, 0.05, 40)]
    lesson, training = Scripted(numbers), TrainingConfig(batch_size=1)

    class Stop(Watcher):
        def stepped(self, run: Run, step: Step) -> None:
            run.world.told_to_stop = run.state.step == 54

    with pytest.raises(Preempted):
        train(Toy(), lesson, training, world, watchers=[Stop()])
    world.told_to_stop = False
    with pytest.raises(TrainingError, match=r"diverges.*up to step 65 "):
        train(Toy(), lesson, training, world)


class Watched(Toy):
    """The toy with a layer that the forward pass does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Linear(4, 4)


def test_what_should_learn_and_does_not_move_is_named(world: World) -> None:
    """As the second adapter of the paper's released code, which no forward pass used."""
    parts = {"inner": ["inner.weight", "inner.bias"], "unused": ["unused.weight", "unused.bias"]}
    with pytest.raises(TrainingError, match=r"2 of 2 .* 'unused'.* step 2, e\.g\. unused\.w"):
        train(
            Watched(), ToyLesson(ToyArm(), 0), TrainingConfig(), world, watchers=[Movement(parts)]
        )
    later = Movement(parts, due={"unused": 5})
    with pytest.raises(TrainingError, match="after step 5"):
        train(Watched(), ToyLesson(ToyArm(), 0), TrainingConfig(), world, watchers=[later])


@pytest.mark.parametrize("deepspeed", [None, ZERO3], ids=["zero2", "zero3"])
def test_a_frozen_tensor_that_changes_is_named(world: World, deepspeed: Path | None) -> None:
    class Meddling(Watcher):
        def end(self, run: Run) -> None:
            frozen = run.engine.model.module.frozen.bias
            getattr(frozen, "ds_tensor", frozen).data[0] += 1e-6

    training = TrainingConfig(deepspeed=deepspeed)
    watchers = [Meddling(), Movement({})]
    with pytest.raises(TrainingError, match=r"1 tensors that are frozen changed.*frozen\.bias"):
        train(Toy(), ToyLesson(ToyArm(), 0), training, world, watchers=watchers)


def test_a_step_that_an_overflow_skipped_is_no_lack_of_movement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 begins with a loss scale that is too high: DeepSpeed takes none of its first steps."""
    step, skipped = Engine.step, 4

    def overflowing(engine: Engine, share: float) -> None:
        if engine.skipped_steps < skipped:
            engine.model.skipped_steps += 1
            engine.model.zero_grad()
            engine.model.optimizer.zero_grad()
        else:
            step(engine, share)

    monkeypatch.setattr(Engine, "step", overflowing)
    assert train_toy(ToyArm(name="overflowing"), world).steps == 12
    parts = {"unused": ["unused.weight"]}
    with pytest.raises(TrainingError, match="after step 6"):
        train(
            Watched(), ToyLesson(ToyArm(), 0), TrainingConfig(), world, watchers=[Movement(parts)]
        )


def test_no_part_is_due_before_the_second_step(world: World) -> None:
    """In the first, what is multiplied by a zero has no gradient."""
    parts = {"unused": ["unused.weight"]}
    with pytest.raises(TrainingError, match="after step 2"):
        train(
            Watched(),
            ToyLesson(ToyArm(), 0),
            TrainingConfig(),
            world,
            watchers=[Movement(parts, due={"unused": 1})],
        )
    once = ToyLesson(ToyArm(steps=1), 0)
    assert train(Watched(), once, TrainingConfig(), world, watchers=[Movement(parts)]).steps == 1
