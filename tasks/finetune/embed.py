"""What a frozen trunk, or its lower layers, makes of notes and titles: computed once, read often.

By hand: `python -m tasks.finetune.embed work/job.json`; the folder `work` keeps what is done.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from tasks import schemas, tables
from tasks.data.notes import Notes
from tasks.data.outcomes import Rows, admissions_of, read_outcome
from tasks.data.states import VALUE, write_titles
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.finetune.jobs import EmbedJob
from tasks.launch import Progress
from tasks.model.bases.files import is_quantized, width_of
from tasks.model.bases.layers import cut
from tasks.model.bases.load import Base, check_positions, leaving, load_base
from tasks.model.heads.start import title_states, titles_to_embed
from tasks.model.score import in_batches
from tasks.model.trunk import as_kept, freeze, summands_of
from tasks.training.engine import (
    deepspeed_config,
    precision_of,
    precision_without_training,
    without_training,
)
from tasks.training.program import Preempted, World, run

PART_NOTES = 64  # a part is written when it is whole, and is not made again by a later run
BATCH_TOKENS = 8_192

Values = NDArray[np.float16]


def main(job: EmbedJob, world: World) -> None:
    """Leave the notes' states, or the titles', and counts."""
    trunk = load_trunk(job, world)
    with without_training(trunk.model, job.training, world):
        counts = _notes(job, trunk, world) if job.encoded else _titles(job, trunk, world)
    if world.first:
        (world.work / "counts.json").write_text(json.dumps(counts))


def load_trunk(job: EmbedJob, world: World) -> Base:
    """The base with its summands at their weights, on the rank's device."""
    if job.below:
        dtype = precision_of(job.training, world)  # so that nothing differs from computing anew
    else:
        dtype = precision_without_training(job.training, world, width_of(job.base))
    settings = deepspeed_config(job.training, world)
    # where each rank holds a part of the weights, or they are quantized, updates are not added
    # into them
    parted = settings["zero_optimization"].get("stage") == 3
    merge = not parted and not is_quantized(job.base)
    loaded_as = torch.float32 if merge else dtype
    base = load_base(
        job.base,
        loaded_as,
        settings,
        job.layer,
        words=job.words,
        chunk=job.chunk,
        passed_over=job.below,
    )
    if job.below:
        cut(base.model, job.below)
    summands = summands_of(job.summands, job.weights, job.fusions)
    trunk = freeze(base, summands, merge=merge)
    nn.Module.to(trunk.model, world.device, dtype if merge else None)
    return trunk


def _titles(job: EmbedJob, trunk: Base, world: World) -> dict[str, int]:
    outcomes = [
        read_outcome(name, path, admissions_of(path)) for name, path in job.outcomes.items()
    ]
    titles = titles_to_embed(outcomes)
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    states = title_states(trunk.states, tokenizer, titles, world.device)
    if world.first:
        write_titles(world.work.parent, titles, np.stack([states[title] for title in titles]))
    return {"titles": len(titles)}


def _notes(job: EmbedJob, trunk: Base, world: World) -> dict[str, int]:
    assert job.encoded is not None
    notes = Notes.read(job.encoded, LoadedTokenizer.load(job.tokenizer).pad)
    check_positions(trunk, int(notes.lengths.max()))
    unfinished = world.work / "states"
    unfinished.mkdir(exist_ok=True)
    starts = range(0, len(notes.hadm_ids), PART_NOTES)
    rounds = -(-len(starts) // world.size)
    for index in range(rounds):  # as many on each rank: under ZeRO-3 they run together
        number = min(index * world.size + world.rank, len(starts) - 1)
        path = unfinished / f"part-{number}.parquet"
        missing, stop = world.sum(float(not path.is_file()), float(world.told_to_stop))
        if stop:
            raise Preempted
        world.report(Progress("states", index, rounds))
        if not missing:
            continue
        rows = np.arange(starts[number], min(starts[number] + PART_NOTES, len(notes.hadm_ids)))
        table = _table(notes, rows, _states(notes, rows, trunk, world))
        scratch = path.with_suffix(f".rank-{world.rank}")
        tables.write(scratch, schemas.STATES, table)
        os.replace(scratch, path)
    world.wait()
    if world.first:
        os.replace(unfinished, world.work.parent / "states")
    return {"admissions": len(notes.hadm_ids), "tokens": int(notes.lengths.sum())}


def _states(notes: Notes, rows: Rows, trunk: Base, world: World) -> list[Values]:
    """The states [tokens, hidden] of each of these admissions' notes.

    Of lower layers they are those of all rows that are read of a note, one after another.
    """
    states: list[Values] = [np.empty((0, 0), np.float16)] * len(rows)
    lengths = notes.lengths[rows]
    batches = in_batches(lengths, BATCH_TOKENS)
    calls = max(world.gather(len(batches)))
    for batch in [*batches, *batches[:1] * (calls - len(batches))]:
        ids, present = (torch.from_numpy(array) for array in notes.padded(rows[batch]))
        ids, present = ids.to(world.device), present.to(world.device)
        if trunk.lower is None:
            of_texts = torch.split(trunk.states(ids, present)[present], lengths[batch].tolist())
        else:
            of_texts = leaving(trunk, ids, present)
        for index, values in zip(batch, of_texts, strict=True):
            states[index] = as_kept(values).cpu().numpy().copy()
    return states


def _table(notes: Notes, rows: Rows, states: list[Values]) -> pa.Table:
    if not all(np.isfinite(values).all() for values in states):
        raise ModelError("the base gives states that are NaN; load it with precision: fp32")
    return pa.table(
        {
            "hadm_id": notes.hadm_ids[rows],
            "split": [notes.splits[row] for row in rows],
            "tokens": [len(values) for values in states],
            "states": pa.array([values.astype(VALUE).tobytes() for values in states]),
        }
    ).cast(schemas.STATES)


if __name__ == "__main__":
    run(EmbedJob, main)
