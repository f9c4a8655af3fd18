"""The steps of the finetune stage; `stage.py` calls them."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.finetune.config import StatesConfig
from tasks.finetune.jobs import EmbedJob, EvidenceJob, MemberJob, PredictJob
from tasks.finetune.room import check_room
from tasks.flow_run import current_store
from tasks.launch import LaunchConfig
from tasks.launch import launch as run
from tasks.model.adapters.methods import BaseName
from tasks.step import Counts, in_shards, step, warn


@step("encoded", version=3)
def encode_notes(
    out: Path, cohort: Path, tokenizer: Path, max_tokens: int, tail_tokens: int = 0
) -> Counts:
    """Turn admission notes into token ids."""
    from tasks.finetune.encode import encode

    return encode(out, cohort, tokenizer, max_tokens, in_shards, tail_tokens=tail_tokens)


@step("states", version=2, resumable=True)
def embed_notes(out: Path, job: EmbedJob, states: StatesConfig, launch: LaunchConfig) -> Counts:
    """Compute the token states of all notes by a frozen trunk, or by its lower layers."""
    check_room(out, job, states)
    return _run("tasks.finetune.embed", job, out, launch)


@step("titles", version=1)
def embed_titles(out: Path, job: EmbedJob, launch: LaunchConfig) -> Counts:
    """Compute the states of the labels' titles by a frozen trunk."""
    return _run("tasks.finetune.embed", job, out, launch)


@step("task-adapter", version=5, resumable=True)
def train_member(
    out: Path,
    job: MemberJob,
    known_as: tuple[str, str] | None,
    launch: LaunchConfig,
) -> Counts:
    """Train the task adapter and the heads of one member."""
    named = job.model_copy(update={"base_name": BaseName.of(job.base, known_as, current_store())})
    counts = _run("tasks.finetune.train", named, out, launch)
    if "warning" in counts:
        warn(str(counts["warning"]))
    seconds = float(counts["training_seconds"])
    return {"member": job.member, **counts, **launch.price_of(seconds)}


@step("predictions", version=4)
def predict(out: Path, job: PredictJob, name: str, launch: LaunchConfig) -> Counts:
    """Predict with a saved member, and without each of its adapters."""
    run("tasks.finetune.predict", job, out / "work", launch)
    return {"variants": len(job.variants)}


@step("evidence", version=1)
def gather_evidence(out: Path, job: EvidenceJob, name: str, launch: LaunchConfig) -> Counts:
    """Tell which words a member's heads attend to, and what taking them out does."""
    return _run("tasks.finetune.explain", job, out, launch)


def _run(
    module: str, job: EmbedJob | EvidenceJob | MemberJob, out: Path, launch: LaunchConfig
) -> Counts:
    run(module, job, out / "work", launch)
    counts: Counts = json.loads((out / "work" / "counts.json").read_text())
    return counts
