"""The steps of the finetune stage, and `finetune`, which calls them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.finetune.config import FinetuneConfig, MemberConfig
from tasks.finetune.jobs import MemberJob, PredictJob
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.launch import launch as run
from tasks.model.adapters.methods import TASK, BaseName
from tasks.model.bases.files import check_targets
from tasks.step import Counts, in_shards, step, warn


@dataclass(frozen=True)
class Finetuned:
    """What the stage made."""

    adapters: tuple[Artifact, ...]  # kind "task-adapter": one a member, or one a member and outcome
    predictions: tuple[Artifact, ...]  # of each of them


def finetune(
    config: FinetuneConfig,
    launch: LaunchConfig,
    *,
    base: Artifact | Path,
    known_as: tuple[str, str] | None,
    summands: Mapping[str, Artifact],
    tokenizer: Artifact | Path,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
) -> Finetuned:
    """From admission notes and outcomes to every member and its predictions.

    Args:
        known_as: the base's id and revision, where it is of the hub.
        summands: the adapters beside which a member may learn, by name.

    Raises TrainingError where a member collapses, RanksDied where a new run would resume.
    """
    brought = None if isinstance(base, Artifact) else base
    check_targets(brought, config.adapter.targets, "finetune.adapter.targets")
    encoded = encode_notes(cohort=cohort, tokenizer=tokenizer, max_tokens=config.max_tokens)
    groups = [dict(outcomes)] if config.joint else [{name: outcomes[name]} for name in outcomes]
    jobs = [
        (
            member,
            MemberJob(
                name=member.name if config.joint else f"{member.name}-{next(iter(group))}",
                member=member.name,
                trained=tuple(summand.adapter for summand in member.summands if summand.trained),
                config=config.of_members,
                base=base,
                summands={
                    summand.adapter: summands[summand.adapter] for summand in member.summands
                },
                tokenizer=tokenizer,
                encoded=encoded,
                outcomes=group,
            ),
        )
        for member in config.members
        for group in groups
    ]
    adapters = [train_member(job=job, known_as=known_as, launch=launch) for _, job in jobs]
    predictions = [
        predict(job=_predicting(member, job, adapter), name=job.name, launch=launch)
        for (member, job), adapter in zip(jobs, adapters, strict=True)
    ]
    return Finetuned(tuple(adapters), tuple(predictions))


@step("encoded", version=3)
def encode_notes(out: Path, cohort: Path, tokenizer: Path, max_tokens: int) -> Counts:
    """Turn admission notes into token ids."""
    from tasks.finetune.encode import encode

    return encode(out, cohort, tokenizer, max_tokens, in_shards)


@step("task-adapter", version=3, resumable=True)
def train_member(
    out: Path,
    job: MemberJob,
    known_as: tuple[str, str] | None,
    launch: LaunchConfig,
) -> Counts:
    """Train the task adapter and the heads of one member."""
    named = job.model_copy(update={"base_name": BaseName.of(job.base, known_as, current_store())})
    run("tasks.finetune.train", named, out / "work", launch)
    counts: Counts = json.loads((out / "work" / "counts.json").read_text())
    if "warning" in counts:
        warn(str(counts["warning"]))
    return {"member": job.member, **counts}


@step("predictions", version=2)
def predict(out: Path, job: PredictJob, name: str, launch: LaunchConfig) -> Counts:
    """Predict with a saved member, and without each of its adapters."""
    run("tasks.finetune.predict", job, out / "work", launch)
    return {"variants": len(job.variants)}


def _predicting(member: MemberConfig, job: MemberJob, adapter: Artifact) -> PredictJob:
    """The member, and, where it is a sum, the member without each of the summands."""
    ablated = (*(summand.adapter for summand in member.summands), TASK) if member.summands else ()
    return PredictJob(
        member=job,
        adapter=adapter,
        variants=(member.variant(), *(member.variant(adapter) for adapter in ablated)),
    )
