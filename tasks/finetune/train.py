"""Train the task adapters and heads of every arm, one after another, in one launch.

By hand, on two CPU ranks or two GPUs, where job.json is what `finetune` left in a work folder:

    torchrun --nproc-per-node 2 -m tasks.finetune.train work/job.json

On two nodes of eight GPUs, on each:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m tasks.finetune.train work/job.json

It reads the training and validation splits only. What it leaves in the folder `result`:
`<arm>/` (with `joint: false`: `<arm>/<outcome>/`), a plain PEFT directory with its heads,
history.parquet, and summary.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from tasks import schemas, tables
from tasks.data.tokenizer import read_tokenizer
from tasks.finetune.batches import Notes, Plan
from tasks.finetune.collapse import check_collapse, spread_by_chance
from tasks.finetune.config import Arm, FinetuneConfig
from tasks.finetune.jobs import FinetuneJob
from tasks.finetune.outcomes import Outcome, Rows, read_outcome, split_rows, training_rows
from tasks.finetune.reweighting import positive_weights, prior_corrected
from tasks.finetune.scoring import mean_macro_auroc, score
from tasks.finetune.start import start_heads
from tasks.model.adapters import base_name_of
from tasks.model.base import check_positions, load_headless, states_width
from tasks.model.fusion import FusedModel, Fusion, check_first_gradients
from tasks.model.heads import HeadShape, masked_bce, masked_cross_entropy
from tasks.training.engine import precision_of, seed_all
from tasks.training.loop import Batch, Trained, Validation, train
from tasks.training.program import World, run


@dataclass(frozen=True)
class Member:
    """One task adapter to train: an arm, and the outcomes that share the adapter."""

    arm: Arm
    outcomes: tuple[Outcome, ...]
    joint: bool

    @property
    def name(self) -> str:
        return self.arm if self.joint else f"{self.arm}-{self.outcomes[0].name}"

    @property
    def folder(self) -> Path:
        return Path(self.arm) if self.joint else Path(self.arm) / self.outcomes[0].name


@dataclass(frozen=True)
class Study:
    """What all members learn from."""

    job: FinetuneJob
    notes: Notes
    outcomes: tuple[Outcome, ...]
    train_rows: Rows
    validation_rows: Rows

    @classmethod
    def read(cls, job: FinetuneJob) -> Study:
        notes = Notes.read(job.encoded)
        outcomes = tuple(
            read_outcome(name, place, notes.hadm_ids) for name, place in job.outcomes.items()
        )
        most, seed = job.config.max_labelled_admissions, job.config.seed
        return cls(
            job=job,
            notes=notes,
            outcomes=outcomes,
            train_rows=training_rows(notes.hadm_ids, notes.splits, outcomes, most, seed),
            validation_rows=split_rows(notes.splits, "validation"),
        )

    def members(self) -> list[Member]:
        joint = self.job.config.joint
        groups = [self.outcomes] if joint else [(outcome,) for outcome in self.outcomes]
        return [Member(arm, group, joint) for arm in self.job.config.arms for group in groups]

    def case_weights(self, member: Member) -> dict[str, Tensor]:
        """How much a case of each label counts in the loss of the outcomes that are reweighted."""
        return positive_weights(self.job.config, member.outcomes, self.train_rows)

    def check_collapse(self, member: Member, values: Sequence[float], *, last: bool) -> str | None:
        """See tasks.finetune.collapse; `values` are the member's validation macro AUROCs so far."""
        return check_collapse(
            member.name,
            values,
            self.job.config,
            lambda: spread_by_chance(member.outcomes, self.validation_rows),
            last=last,
        )


def main(job: FinetuneJob, world: World) -> None:
    """Train every member; leave adapters, heads, history and a summary."""
    study = Study.read(job)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {"admissions_to_learn_from": len(study.train_rows)}
    for member in study.members():
        model = build(study, member, world)
        trained = fit(study, member, model, world)
        values = validation_values(trained.history)
        warning = study.check_collapse(member, values, last=True)
        if world.first:
            state = prior_corrected(trained.state, study.case_weights(member))
            model.save(job.result / member.folder, state, base_name_of(job.clinical))
        rows += trained.history
        summary |= {
            f"{member.name}_parameters": sum(each.numel() for each in trained.state.values()),
            f"{member.name}_tokens": trained.tokens,
            f"{member.name}_examples": trained.examples,
            f"{member.name}_best_step": trained.best_step,
            f"{member.name}_validation": round(trained.best_value or 0.0, 6),
        }
        if warning:
            summary[f"{member.name}_warning"] = warning
    if world.first:
        history = pa.Table.from_pylist(rows, schemas.HISTORY)
        tables.write(job.result / "history.parquet", schemas.HISTORY, history)
        (job.result / "summary.json").write_text(json.dumps(summary, indent=1))
    world.wait()


def build(study: Study, member: Member, world: World) -> FusedModel:
    """The member's model on its device, its heads started; the same on every rank."""
    job, config = study.job, study.job.config
    seed_all(config.seed)  # the same start for every arm
    base = load_headless(job.base, precision_of(config, world))
    check_positions(base, int(study.notes.lengths.max()))
    width = states_width(base)
    clinical = job.clinical if member.arm == "fused" else None
    shapes = [
        HeadShape(o.name, config.head.kind, config.head.pool, width, o.labels)
        for o in member.outcomes
    ]
    model = Fusion(clinical, config.clinical, config.lora).build(base, shapes)
    model.to(world.device)
    tokenizer = read_tokenizer(job.tokenizer) if config.head.start_from_titles else None
    weights = study.case_weights(member)
    start_heads(model, study.notes, member.outcomes, study.train_rows, tokenizer, weights)
    return model


def fit(study: Study, member: Member, model: FusedModel, world: World) -> Trained:
    """Train one member; the state of its best epoch by validation."""
    config = study.job.config
    plan = Plan(
        rows=study.train_rows,
        lengths=study.notes.lengths,
        outcomes=member.outcomes,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        parts=_parts(config, world),
    )
    values: list[float] = []

    def judge(module: nn.Module) -> float:
        what = f"{member.name} on validation"
        logits = score(module, study.notes, study.validation_rows, world, what)
        values.append(mean_macro_auroc(logits, member.outcomes, study.validation_rows))
        study.check_collapse(member, values, last=False)
        return values[-1]

    ends = range(plan.steps_per_epoch, plan.steps + 1, plan.steps_per_epoch)
    return train(
        model,
        _Lesson(member, study.notes, plan, world, study.case_weights(member)),
        config,
        world,
        rate_of=lambda name: (
            config.head.learning_rate if name.startswith("heads.") else config.learning_rate
        ),
        validation=Validation(steps=ends, judge=judge),
        check_gradients=check_first_gradients,
    )


@dataclass(frozen=True)
class _Lesson:
    """A member's training, step by step."""

    member: Member
    notes: Notes
    plan: Plan
    world: World
    weights: Mapping[str, Tensor]  # outcome -> [labels]; none: a case counts as a control does

    @property
    def arm(self) -> str:
        return self.member.name

    @property
    def steps(self) -> int:
        return self.plan.steps

    def batch(self, step: int) -> Batch:
        return self.plan.batch(step)

    def loss(self, model: nn.Module, micro: Rows) -> Tensor:
        """The cross-entropy summed over the observed cells of all outcomes.

        So every (admission, label) pair that is known counts the same, whichever the outcome;
        classes, of which an admission has exactly one, count once together. With
        `positive_weight: balanced` a case counts as its label's weight.
        """
        device = self.world.device
        logits = model(*self.notes.padded(micro, device))
        parts = []
        for outcome in self.member.outcomes:
            cells = (
                logits[outcome.name],
                torch.from_numpy(outcome.positives(micro)).to(device),
                torch.from_numpy(outcome.observed(micro)).to(device),
            )
            if outcome.one_of:
                parts.append(masked_cross_entropy(*cells))
            else:
                weight = self.weights.get(outcome.name)
                parts.append(masked_bce(*cells, None if weight is None else weight.to(device)))
        return torch.stack(parts).sum()


def validation_values(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """The validation values of a history, in the order of epochs."""
    return [row["validation"] for row in history if row["validation"] is not None]


def _parts(config: FinetuneConfig, world: World) -> int:
    """How many micro-batches a batch is cut into: enough for memory, a multiple of the ranks."""
    share = -(-config.batch_size // world.size)
    rounds = -(-share // config.micro_batch_size) if config.micro_batch_size else 1
    return rounds * world.size


if __name__ == "__main__":
    run(FinetuneJob, main)
