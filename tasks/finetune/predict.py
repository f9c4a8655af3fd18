"""Predictions of a saved member, read back from disk, for the validation and test splits.

By hand: `python -m tasks.finetune.predict work/job.json`. Beside the member it also predicts with
one of its adapters left out, to show that each takes part, or with all of them made into one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tasks.data.outcomes import split_rows
from tasks.data.predictions import SPLITS, write_predictions
from tasks.data.states import Inputs, NotesAndLower
from tasks.finetune.jobs import MemberJob, PredictJob
from tasks.finetune.study import read_inputs
from tasks.launch import Progress
from tasks.model.adapters.methods import TASK
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, load_classifier
from tasks.model.heads.heads import Heads
from tasks.model.score import score
from tasks.model.trunk import summands_of
from tasks.training.engine import deepspeed_config, precision_of, without_training
from tasks.training.program import World, run
from tasks.variants import Variant, write_variant


def main(job: PredictJob, world: World) -> None:
    """Leave <variant>/<outcome>/<split>.parquet and each variant's record."""
    member, config = job.member, job.member.config.training
    out = world.work.parent
    inputs = read_inputs(member)
    model = _model(job, world)
    for index, variant in enumerate(job.variants):
        with _altered(model, variant), without_training(model, config, world) as module:
            for split in SPLITS:
                rows = split_rows(inputs.splits, split)
                read = _read_by(variant, inputs)
                logits = score(module, read, rows, world, f"{variant.name} on {split}")
                for outcome, values in logits.items() if world.first else ():
                    path = out / variant.name / outcome / f"{split}.parquet"
                    write_predictions(path, inputs.hadm_ids[rows], values)
        if world.first:
            write_variant(out / variant.name, variant)
        world.report(Progress("predict", index + 1, len(job.variants), note=variant.name))


def load_member(member: MemberJob, adapter: Path, world: World) -> Classifier:
    """The saved member on its base, on the rank's device.

    Args:
        adapter: its task-adapter artifact.
    """
    training = member.config.training
    base = load_base(
        member.base,
        precision_of(training, world),
        deepspeed_config(training, world),
        member.layer,
        words=member.words,
        chunk=member.chunk,
        passed_over=member.passed_over,
    )
    summands = summands_of(member.summands, member.weights, member.fusion_of)
    return load_classifier(base, adapter, summands).to(world.device)


def _model(job: PredictJob, world: World) -> Heads:
    """The saved member: its heads alone where its trunk is frozen and its states are at hand."""
    if job.member.states is None:
        return load_member(job.member, job.adapter, world)
    heads = Heads()
    heads.read(job.adapter)
    return heads.requires_grad_(False).eval().to(world.device)


def _read_by(variant: Variant, inputs: Inputs) -> Inputs:
    """What the variant reads: not what was kept of lower layers if it has others."""
    same = variant.ablates in (None, TASK) and variant.merged_by is None
    return inputs.notes if isinstance(inputs, NotesAndLower) and not same else inputs


def _altered(model: Heads, variant: Variant) -> AbstractContextManager[None]:
    """Within it the model predicts what the variant of it does."""
    if variant.ablates and isinstance(model, Classifier):
        return model.without(variant.ablates)
    if variant.merged_by and isinstance(model, Classifier):
        return model.merged(variant.merged_by)
    return nullcontext()


if __name__ == "__main__":
    run(PredictJob, main)
