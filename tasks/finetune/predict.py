"""Predictions of the saved adapters, read back from disk, for the validation and test splits.

By hand: `python -m tasks.finetune.predict work/job.json`. Beside every arm it also predicts with
one of the fused arm's adapters zeroed, to show that both take part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from tasks.finetune.batches import Notes
from tasks.finetune.jobs import PredictJob
from tasks.finetune.outcomes import split_rows
from tasks.finetune.predictions import SPLITS, write_predictions
from tasks.finetune.scoring import score
from tasks.launch import Progress
from tasks.model.base import load_headless
from tasks.model.fusion import CLINICAL, TASK, FusedModel, load_fused
from tasks.training.engine import precision_of
from tasks.training.program import World, run


def main(job: PredictJob, world: World) -> None:
    """Write result/<variant>/<outcome>/<split>.parquet."""
    notes = Notes.read(job.encoded)
    members = list(_members(job))
    for index, (arm, folder) in enumerate(members):
        base = load_headless(job.base, precision_of(job.config, world))
        model = load_fused(base, folder, job.clinical if arm == "fused" else None)
        model.to(world.device)
        for variant, zeroed in _variants(arm, model):
            with model.without(zeroed) if zeroed else nullcontext():
                _predict(model, variant, notes, job.result, world)
        world.report(Progress("predict", index + 1, len(members), note=arm))


def _members(job: PredictJob) -> Iterator[tuple[str, Path]]:
    """Every arm and the folder of each of its adapters: one, or one an outcome."""
    for arm in job.config.arms:
        if job.config.joint:
            yield arm, job.adapters / arm
        else:
            for outcome in job.outcomes:
                yield arm, job.adapters / arm / outcome


def _variants(arm: str, model: FusedModel) -> Iterator[tuple[str, str | None]]:
    """A name for the predictions, and the adapter that is zeroed for them."""
    yield arm, None
    if CLINICAL in model.adapters:
        yield f"{arm}-without-clinical", CLINICAL
        yield f"{arm}-without-task", TASK


def _predict(model: nn.Module, variant: str, notes: Notes, result: Path, world: World) -> None:
    for split in SPLITS:
        rows = split_rows(notes.splits, split)
        logits = score(model, notes, rows, world, f"{variant} on {split}")
        if not world.first:
            continue
        for outcome, values in logits.items():
            place = result / variant / outcome / f"{split}.parquet"
            write_predictions(place, notes.hadm_ids[rows], values)


if __name__ == "__main__":
    run(PredictJob, main)
