"""A trial of a search: a flow run of its own, judged on validation patients alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.chain import Chain
from flows.check import check
from flows.config import AdaptConfig, SearchConfig
from flows.loading import load_search, load_trial
from flows.stages import LONGEST_NAME
from flows.track import tracked
from tasks import schemas, tables
from tasks.errors import ConfigError, Pruned
from tasks.finetune.jobs import STOPPED
from tasks.finetune.members import MemberConfig
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.model.bases.files import is_encoder


@dataclass(frozen=True)
class Tried:
    """What came out of a trial."""

    value: float
    curve: tuple[tuple[int, float], ...] = ()  # percent of the training -> value on validation


def trial_name() -> str:
    """A trial's, for Prefect's lists: its search, its number, and what is tried."""
    parameters = flow_run.parameters
    words = f"{Path(parameters['preset']).stem}, trial {parameters['number']}"
    whole = ", ".join((words, *parameters["tried"]))
    return whole if len(whole) <= LONGEST_NAME else f"{whole[: LONGEST_NAME - 1]}\u2026"


@flow(name="trial", flow_run_name=trial_name, persist_result=False, result_serializer="json")
def trial_run(
    preset: str, overrides: tuple[str, ...], tried: tuple[str, ...], number: int
) -> Tried | State[Any]:
    """Make what one trial is judged by; nothing of a test patient is predicted.

    Args:
        preset: The YAML file of the search.
        overrides: What differs from it in every trial.
        tried: What differs in this one.
        number: The trial's.
    """
    searched = load_search(Path(preset), overrides)
    run = load_trial(Path(preset), [*overrides, *tried])
    check(run, flow="search")
    try:
        with tracked(run.name, run.track.tensorboard):
            if searched.stage == "pretrain":
                return _perplexity(run)
            return _auroc(_of_member(run, searched))
    except Pruned as pruned:
        return Completed(name="Pruned", message=str(pruned))


def member_of(run: AdaptConfig, searched: SearchConfig) -> MemberConfig:
    """The member by which a trial is judged."""
    wanted = searched.member or searched.finetune.members[0].name
    for member in run.finetune.members:
        if member.name == wanted:
            return member
    names = ", ".join(member.name for member in run.finetune.members)
    raise ConfigError(f"the trial has no member '{wanted}' to be judged by; its members: {names}")


def percent_of(done: float, total: float) -> int:
    return round(100 * done / max(total, 1))


def _of_member(run: AdaptConfig, searched: SearchConfig) -> AdaptConfig:
    """The run with one member alone: another member's training would tell nothing."""
    members = (member_of(run, searched),)
    return run.model_copy(update={"finetune": run.finetune.model_copy(update={"members": members})})


def _auroc(run: AdaptConfig) -> Tried:
    """The mean macro AUROC on validation of the run's one member."""
    trained = [made.adapter for made in Chain(run).trained]
    values = [float(adapter.counts["validation"]) for adapter in trained]
    # of a training that its budget ended, the share that was done is not known here
    whole = len(trained) == 1 and STOPPED not in trained[0].counts
    return Tried(sum(values) / len(values), _curve(trained[0]) if whole else ())


def measured_by(config: SearchConfig) -> str:
    """What a trial's value is called."""
    if config.stage == "finetune":
        return "validation AUROC"
    return "masked-word loss" if is_encoder(config.pretrain.base) else "perplexity"


def _perplexity(run: AdaptConfig) -> Tried:
    """Of validation patients' notes with the clinical adapter; of an encoder its loss."""
    made = Chain(run).pretraining(("clinical",)).perplexity
    assert made is not None, "the clinical adapter was asked for"
    counts = made.counts
    name = "perplexity_after" if "perplexity_after" in counts else "masked_word_loss_after"
    return Tried(float(counts[name]))


def _curve(adapter: Artifact) -> tuple[tuple[int, float], ...]:
    """The validation values of a training, by the percent of it that was done."""
    path = current_store().path(adapter.kind, adapter.key) / "history.parquet"
    rows = tables.read(path, schemas.HISTORY, ["step", "validation"]).to_pylist()
    steps = max(row["step"] for row in rows)
    return tuple(
        (percent_of(row["step"], steps), row["validation"])
        for row in rows
        if row["validation"] is not None
    )
