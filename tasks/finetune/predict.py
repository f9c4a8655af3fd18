"""Predictions of a saved member, read back from disk, for the validation and test splits.

By hand: `python -m tasks.finetune.predict work/job.json`. Beside the member it also predicts with
one of its adapters left out, to show that each takes part.
"""

from __future__ import annotations

from contextlib import nullcontext

from tasks.data.notes import Notes
from tasks.data.outcomes import split_rows
from tasks.data.predictions import SPLITS, write_predictions
from tasks.data.tokenizer import LoadedTokenizer
from tasks.finetune.jobs import PredictJob
from tasks.launch import Progress
from tasks.model.bases.load import load_base
from tasks.model.classifier import Summand, load_classifier
from tasks.model.score import score
from tasks.training.engine import deepspeed_config, precision_of, without_training
from tasks.training.program import World, run
from tasks.variants import write_variant


def main(job: PredictJob, world: World) -> None:
    """Leave <variant>/<outcome>/<split>.parquet and each variant's record."""
    member, config = job.member, job.member.config.training
    out = world.work.parent
    notes = Notes.read(member.encoded, LoadedTokenizer.load(member.tokenizer).pad)
    settings = deepspeed_config(config, world)
    base = load_base(member.base, precision_of(config, world), settings)
    summands = [Summand(name, path) for name, path in member.summands.items()]
    model = load_classifier(base, job.adapter, summands).to(world.device)
    for index, variant in enumerate(job.variants):
        left_out = model.without(variant.ablates) if variant.ablates else nullcontext()
        with left_out, without_training(model, config, world) as module:
            for split in SPLITS:
                rows = split_rows(notes.splits, split)
                logits = score(module, notes, rows, world, f"{variant.name} on {split}")
                for outcome, values in logits.items() if world.first else ():
                    path = out / variant.name / outcome / f"{split}.parquet"
                    write_predictions(path, notes.hadm_ids[rows], values)
        if world.first:
            write_variant(out / variant.name, variant)
        world.report(Progress("predict", index + 1, len(job.variants), note=variant.name))


if __name__ == "__main__":
    run(PredictJob, main)
