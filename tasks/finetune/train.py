"""Train a member: its task adapter, beside the summands that it has, and its heads.

By hand, on two CPU ranks or two GPUs, where job.json is what `finetune` left in a work folder:

    torchrun --nproc-per-node 2 -m tasks.finetune.train work/job.json

On two nodes of eight GPUs, on each:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m tasks.finetune.train work/job.json

It reads the training and validation splits only. What it leaves beside the work folder: a plain
PEFT directory with its heads, and history.parquet; in the work folder, counts.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from tasks import schemas, tables
from tasks.data.outcomes import Rows
from tasks.data.states import PARTS, NotesAndLower, States, read_titles
from tasks.data.tokenizer import LoadedTokenizer
from tasks.finetune.arithmetic import cost_of, flops_of_token
from tasks.finetune.collapse import Collapse
from tasks.finetune.config import MemberTraining
from tasks.finetune.jobs import STOPPED, MemberJob
from tasks.finetune.lesson import MemberLesson, mean_macro_auroc
from tasks.finetune.plan import Plan
from tasks.finetune.reweighting import prior_corrected
from tasks.finetune.study import Study
from tasks.model.adapters.gates import gates_of
from tasks.model.adapters.methods import targets_of, tokens_before
from tasks.model.bases.layers import draw_anew, take_dropout_off
from tasks.model.bases.load import check_positions, load_base, states_width
from tasks.model.classifier import Classifier, new_classifier
from tasks.model.heads.config import HeadShape
from tasks.model.heads.heads import Heads
from tasks.model.heads.start import (
    TitleStates,
    sample,
    start_biases,
    start_from_titles,
    title_states,
    titles_to_embed,
)
from tasks.model.rates import graded
from tasks.model.score import score
from tasks.model.trunk import summands_of
from tasks.training.engine import (
    deepspeed_config,
    precision_of,
    save_activations,
    seed_all,
    without_training,
)
from tasks.training.loop import Trained, train
from tasks.training.program import World, run
from tasks.training.watchers.budget import Budget
from tasks.training.watchers.freezing import Freezing
from tasks.training.watchers.movement import Movement
from tasks.training.watchers.validation import Validation

LOWER_ROUNDING = 0.05  # share of the states; kept in half precision they differed by less than .002


def main(job: MemberJob, world: World) -> None:
    """Build the member, train it, and leave its adapter, heads, history and counts."""
    study = Study.read(job)
    model = build(study, world)
    started = {name: gate.item() for name, gate in gates_of(model).items()}
    collapse = Collapse(job.name, job.config, study.outcomes, study.validation_rows)
    of_token = flops_of_token(model, study.inputs.lengths[study.train_rows])
    trained = fit(study, model, world, collapse)
    warning = collapse.check(trained.history, last=True)
    if not world.first:
        return
    out = world.work.parent
    state = prior_corrected(trained.state, study.corrections)
    if isinstance(model, Classifier):
        model.save(out, state, job.base_name)
    else:
        model.write(out, state)
    rows = [{**row, "arm": job.member} for row in trained.history]
    history = pa.Table.from_pylist(rows, schemas.HISTORY)
    tables.write(out / "history.parquet", schemas.HISTORY, history)
    counts: dict[str, Any] = {
        "admissions_to_learn_from": len(study.train_rows),
        "parameters": sum(tensor.numel() for tensor in trained.state.values()),
        "tokens": trained.tokens,
        "examples": trained.examples,
        "best_step": trained.best_step,
        "validation": round(trained.best_value or 0.0, 6),
        **_learned_weights(job, started, state),
        **cost_of(model, trained, of_token),
    }
    if trained.stopped:
        counts[STOPPED] = trained.steps
    if warning:
        counts["warning"] = warning
    (world.work / "counts.json").write_text(json.dumps(counts))


def _learned_weights(
    job: MemberJob, started: Mapping[str, float], state: Mapping[str, Tensor]
) -> dict[str, float]:
    """How often each gated summand is added in the end: the least, the mean and the most.

    Args:
        started: what its gates were before training.
    """
    weights: dict[str, list[float]] = {}
    for name, start in started.items():
        adapter = name.rpartition(".")[2]
        grown = state[name].item() / start
        weights.setdefault(adapter, []).append(job.weights.get(adapter, 1.0) * grown)
    return {
        f"{adapter}_added_{which}": round(float(of(values)), 4)
        for adapter, values in weights.items()
        for which, of in (("least", np.min), ("mean", np.mean), ("most", np.max))
    }


def build(study: Study, world: World) -> Heads:
    """The member's model on its device, its heads started; the same on every rank."""
    job, config = study.job, study.job.config
    seed_all(config.training.seed)  # the same start for every member
    model = Heads() if job.states else _classifier(study, world)
    # under ZeRO-3 the trunk alone is parted here; the heads are still to be started
    trunk = model.backbone if isinstance(model, Classifier) else model
    with without_training(trunk, config.training, world):
        width = states_width(model.base) if isinstance(model, Classifier) else _width(study)
    parts = PARTS if job.words else 1
    model.add_heads(
        [
            HeadShape(outcome=o.name, head=config.head, hidden=width, parts=parts, labels=o.labels)
            for o in study.outcomes
        ]
    )
    model.to(world.device).eval()
    with without_training(trunk, config.training, world):
        some = sample(study.train_rows)
        if isinstance(study.inputs, NotesAndLower):
            _check_lower(study.inputs, model, some, world)
        model.scaling.fit(_sampled_states(study, model, some, world))
        if config.head.start_from_titles:
            titles = _title_states(study, model, world)
            start_from_titles(model, study.outcomes, titles, study.train_rows)
        logits = score(model, study.inputs, some, world, f"{job.name}, start")
    model.train()
    start_biases(model, study.outcomes, study.train_rows, study.class_weights, study.shifts, logits)
    return model


def _classifier(study: Study, world: World) -> Classifier:
    job, training = study.job, study.job.config.training
    settings = deepspeed_config(training, world)
    dtype = precision_of(training, world)
    base = load_base(
        job.base,
        dtype,
        settings,
        job.layer,
        words=job.words,
        chunk=job.chunk,
        passed_over=job.passed_over,
    )
    method = study.job.config.adapter
    check_positions(base, int(study.inputs.lengths.max()) + tokens_before(method))
    take_dropout_off(base.model)
    below = study.job.config.freeze_below
    if study.job.config.reinit_top:
        draw_anew(base.model, study.job.config.reinit_top, below)
    summands = summands_of(job.summands, job.weights, job.fusion_of)
    assert method is not None
    steps = plan_of(study, world).steps
    model = new_classifier(base, method, summands, steps=steps, freeze_below=below)
    model.to(world.device)
    if training.gradient_checkpointing:
        save_activations(base.model, "finetune.training.gradient_checkpointing")
    return model


def _check_lower(inputs: NotesAndLower, model: Heads, rows: Rows, world: World) -> None:
    """Raise ModelError where the upper layers give other states when the lower are passed over.

    So they do where they read more of those below than token states.
    """
    assert isinstance(model, Classifier)
    assert model.base.lower
    longest = rows[[inputs.lengths[rows].argmax()]]
    arrays = inputs.padded(longest)
    ids, present, leaving = (torch.from_numpy(array).to(world.device) for array in arrays)
    whole, upper = model.states(ids, present).float(), model.states(ids, present, leaving).float()
    if bool((whole - upper).norm() > LOWER_ROUNDING * whole.norm()):
        raise model.base.lower.unfit


def _sampled_states(study: Study, model: Heads, rows: Rows, world: World) -> Tensor:
    """The token states of these admissions, one after another, [tokens, hidden]."""
    sampled = []
    for row in rows:
        arrays = study.inputs.padded(np.array([row]))
        inputs = [torch.from_numpy(array).to(world.device) for array in arrays]
        states = model.states(*inputs) if isinstance(model, Classifier) else inputs[0]
        sampled.append(states[0].float())
    return torch.cat(sampled)


def _title_states(study: Study, model: Heads, world: World) -> TitleStates:
    if study.job.titles is not None:
        return read_titles(study.job.titles)
    assert isinstance(model, Classifier)
    tokenizer = LoadedTokenizer.load(study.job.tokenizer)
    return title_states(model.states, tokenizer, titles_to_embed(study.outcomes), world.device)


def _width(study: Study) -> int:
    assert isinstance(study.inputs, States)
    return study.inputs.width


def plan_of(study: Study, world: World) -> Plan:
    """Which admissions make up which step."""
    config, training = study.job.config, study.job.config.training
    return Plan(
        rows=study.train_rows,
        lengths=study.inputs.lengths,
        outcomes=study.outcomes,
        batch_size=training.batch_size,
        epochs=config.epochs,
        min_steps=config.min_steps,
        seed=training.seed,
        parts=training.micro_batches(world.size),
    )


def fit(study: Study, model: Heads, world: World, collapse: Collapse) -> Trained:
    """Train the member; the state of its best epoch by validation."""
    config, training = study.job.config, study.job.config.training
    plan = plan_of(study, world)
    corrections = study.corrections  # classes are ranked by what the saved head will say

    def judge(module: nn.Module) -> float:
        what = f"{study.job.name} on validation"
        logits = score(module, study.inputs, study.validation_rows, world, what)
        logits |= {name: logits[name] + added.numpy() for name, added in corrections.items()}
        return mean_macro_auroc(logits, study.outcomes, study.validation_rows)

    task = model.task if isinstance(model, Classifier) else None
    freezing = None
    if training.freezing and task:
        names = [name for names in _of_adapters(model).values() for name in names]
        freezing = Freezing(model, names, training.freezing, training.seed)
    rates = model.rates(training.learning_rate)
    if isinstance(model, Classifier):
        decay, plus = training.layer_decay, training.lora_plus
        rates = graded(rates, model, layer_decay=decay, lora_plus=plus)
    return train(
        model,
        MemberLesson(study, plan, world.device, task.penalty if task else None),
        training,
        world,
        rate_of=rates.__getitem__,
        watchers=(
            _movement(model, config, plan, freezing),
            Validation(plan.validated, judge),
            collapse,
            *(task.watchers if task else ()),
            *((freezing,) if freezing else ()),
            Budget(training.budget_minutes),
        ),
        apart=freezing.matrices if freezing else (),
    )


def _of_adapters(model: Heads) -> dict[str, list[str]]:
    """The names of the trained parameters that are not the heads', by what they are of."""
    heads = {f"heads.{outcome}" for outcome in model.heads}
    return {part: names for part, names in model.trained_parts().items() if part not in heads}


def _movement(
    model: Heads, config: MemberTraining, plan: Plan, freezing: Freezing | None
) -> Movement:
    """Looks whether all parts of the member learn."""
    adapters = _of_adapters(model)
    due = {f"heads.{outcome}": plan.steps_per_epoch for outcome in model.heads}
    if freezing:
        due |= dict.fromkeys(adapters, freezing.all_moved_after)
    named = config.adapter is None or isinstance(targets_of(config.adapter), tuple)
    return Movement(model.trained_parts(), tolerant=() if named else adapters, due=due)


if __name__ == "__main__":
    run(MemberJob, main)
