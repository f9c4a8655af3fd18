"""What kept states would take, told before a base is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from tasks import schemas, tables
from tasks.data.states import BYTES, PARTS
from tasks.errors import ConfigError
from tasks.finetune.config import StatesConfig
from tasks.finetune.jobs import EmbedJob
from tasks.model.bases.files import is_causal, positions_of, width_of
from tasks.model.bases.overlap import tokens_read

GIB = 2**30


def check_room(out: Path, job: EmbedJob, states: StatesConfig) -> None:
    """Raise ConfigError where the states of these notes would take too much."""
    tokens = tokens_kept(job)
    width = (width_of(job.base) or 0) * (PARTS if job.words else 1)
    gib = tokens * width * BYTES / GIB
    free = shutil.disk_usage(out).free / GIB
    of_what = f"of {tokens} tokens"
    way_out = "lower finetune.max_tokens"
    if job.below:
        of_what = f"that leave the {job.below} layers of finetune.freeze_below, {of_what},"
        way_out += ", or set finetune.states.max_gib to 0: then each epoch computes them anew"
    if gib > states.max_gib:
        raise ConfigError(
            f"the states {of_what} would take {gib:.1f} GiB, and finetune.states.max_gib is "
            f"{states.max_gib:g}; raise it, or {way_out}"
        )
    if gib > free:
        raise ConfigError(
            f"the states {of_what} would take {gib:.1f} GiB, and the store's disk has {free:.1f} "
            f"GiB left; make room, or {way_out}"
        )


def tokens_kept(job: EmbedJob) -> int:
    """How many token states are kept: of lower layers those of every chunk, else each token's."""
    assert job.encoded is not None
    causal, longest = is_causal(job.base), job.chunk
    if not causal:
        sizes = [size for size in (positions_of(job.base), job.chunk) if size is not None]
        longest = min(sizes, default=None)
    return sum(
        tokens_read(
            np.maximum(pc.list_value_length(batch["input_ids"]).to_numpy(), 1),
            longest if job.below else None,
            looking_back=causal,
        )
        for batch in tables.stream(job.encoded / "encoded", schemas.ENCODED, ["input_ids"])
    )
