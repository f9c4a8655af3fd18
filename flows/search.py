"""A search: trials of a run, each a flow run of its own, judged on validation patients alone."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from prefect import State, flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.chain import Chain
from flows.check import check
from flows.config import AdaptConfig, SearchConfig
from flows.loading import keys_of_trial, load_search, load_trial
from flows.space import check_search, in_words, short_names
from flows.stages import LONGEST_NAME, run_name
from flows.study import REASON, SECONDS, Study, how_it_ended, report, values_of
from tasks import schemas, tables
from tasks.errors import (
    ConfigError,
    EvaluationError,
    ModelError,
    Pruned,
    StepFailed,
    TrainingError,
)
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.reporting import Reading, listening

BEST, TABLE = "best.yaml", "table.json"  # in the search's folder
FAILS_ALONE = (ConfigError, ModelError, TrainingError, EvaluationError, StepFailed)
MEASURED = {"finetune": "validation AUROC", "pretrain": "perplexity"}


@dataclass(frozen=True)
class Tried:
    """What came out of a trial."""

    value: float
    curve: tuple[tuple[int, float], ...] = ()  # percent of the training -> value on validation


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    folder: Path  # with BEST and TABLE
    sentence: str  # which trial is the best
    sets: str  # what it differs in, as `clinfuse run` takes it
    failed: tuple[str, ...]  # a sentence for each trial that has no value


@flow(name="search", flow_run_name=run_name, persist_result=False, result_serializer="json")
def search(
    preset: str = "configs/search-demo.yaml",
    overrides: tuple[str, ...] = (),
    name: str | None = None,
    trials: int | None = None,
    out: str | None = None,
) -> Found:
    """Try what the search's space holds, each trial a flow run, and write down the best run.

    Args:
        preset: A YAML file of a search, e.g. configs/search-demo.yaml.
        overrides: What differs from it, as key=value: trials=5, or a key of every trial.
        name: The search's name; empty: the preset's.
        trials: At most this many; empty: the preset's.
        out: Where to write the best run as a YAML file; empty: in the store alone.
    """
    typed = {"name": name, "trials": trials}
    more = [f"{key}={value}" for key, value in typed.items() if value is not None]
    given = (*overrides, *more)
    config = check_search(Path(preset), given)
    log = get_run_logger()

    def waiting() -> None:
        log.info("another run is at the search '%s'; waiting for it", config.name)

    with Study.opened(current_store(), config, waiting) as study:
        while (trial := study.ask()) is not None:
            _try(study, trial, preset, given)
        found = _written(study, Path(preset), given)
        if out is not None:
            Path(out).write_text((study.folder / BEST).read_text())
        rows = json.loads((study.folder / TABLE).read_text())
        key = study.folder.name.lower()
        create_table_artifact(rows, key=f"{key}-trials", description=found.sentence)
    return found


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
        return (
            _perplexity(run) if searched.stage == "pretrain" else _auroc(_of_member(run, searched))
        )
    except Pruned as pruned:
        return Completed(name="Pruned", message=str(pruned))


def _try(study: Study, trial: optuna.Trial, preset: str, overrides: Sequence[str]) -> None:
    """Run the trial, and tell the study what became of it.

    What is at fault beyond this trial is raised; like a trial that is stopped, it is then tried
    again.
    """
    log, tried, began = get_run_logger(), study.overrides(trial), time.monotonic()
    log.info("trial %d: %s", trial.number, ", ".join(tried))
    try:
        run = load_trial(Path(preset), [*overrides, *tried])
        with listening(_watch(study, trial, run)):
            came_out = trial_run(preset, tuple(overrides), tried, trial.number)
    except FAILS_ALONE as error:
        log.warning("trial %d failed: %s", trial.number, error)
        study.fail(trial, str(error))
        return
    trial.set_user_attr(SECONDS, round(time.monotonic() - began))
    if isinstance(came_out, Tried):
        study.tell(trial, came_out.value, came_out.curve)
        best = study.best
        assert best
        measured = MEASURED[study.config.stage]
        words = "trial %d: %s %.4f; the best so far is %.4f, of trial %d"
        log.info(words, trial.number, measured, came_out.value, best.value, best.number)
    else:
        study.prune(trial)
        log.info("trial %d: pruned", trial.number)


def _watch(study: Study, trial: optuna.Trial, run: AdaptConfig) -> Callable[[Reading], None]:
    """A listener that gives the trial up where others were better.

    Of a trial of several trainings (adapters an outcome, weights to choose from) it hears nothing:
    their values are of different things.
    """
    member, finetuning = _member(run, study.config), run.finetune
    frozen = finetuning.adapter is None
    one = finetuning.joint and all(
        len(summand.weights(frozen_trunk=frozen)) == 1 for summand in member.summands
    )

    def listen(reading: Reading) -> None:
        judged = reading.judged
        if not one or judged is None or judged.training != member.name:
            return
        percent = _percent(reading.done, reading.total)
        report(trial, percent, judged.value)
        if percent < 100 and trial.should_prune():
            raise Pruned(
                f"trial {trial.number} was given up at {percent}% of its training, where its "
                "validation was below the median of the trials before; see pruner"
            )

    return listen


def _member(run: AdaptConfig, searched: SearchConfig) -> Any:
    """The member by which a trial is judged."""
    wanted = searched.member or searched.finetune.members[0].name
    for member in run.finetune.members:
        if member.name == wanted:
            return member
    names = ", ".join(member.name for member in run.finetune.members)
    raise ConfigError(f"the trial has no member '{wanted}' to be judged by; its members: {names}")


def _of_member(run: AdaptConfig, searched: SearchConfig) -> AdaptConfig:
    """The run with one member alone: another member's training would tell nothing."""
    members = (_member(run, searched),)
    return run.model_copy(update={"finetune": run.finetune.model_copy(update={"members": members})})


def _auroc(run: AdaptConfig) -> Tried:
    """The mean macro AUROC on validation of the run's one member."""
    trained = [made.adapter for made in Chain(run).trained]
    values = [float(adapter.counts["validation"]) for adapter in trained]
    curve = _curve(trained[0]) if len(trained) == 1 else ()
    return Tried(sum(values) / len(values), curve)


def _perplexity(run: AdaptConfig) -> Tried:
    """Of validation patients' notes, with the clinical adapter."""
    made = Chain(run).pretraining(("clinical",)).perplexity
    if made is None:
        raise ConfigError(
            "the base has no output layer of its own, so that there is no perplexity to search by; "
            "take a base saved with its own (...ForMaskedLM), or set stage to finetune"
        )
    return Tried(float(made.counts["perplexity_after"]))


def _curve(adapter: Artifact) -> tuple[tuple[int, float], ...]:
    """The validation values of a training, by the percent of it that was done."""
    path = current_store().path(adapter.kind, adapter.key) / "history.parquet"
    rows = tables.read(path, schemas.HISTORY, ["step", "validation"]).to_pylist()
    steps = max(row["step"] for row in rows)
    return tuple(
        (_percent(row["step"], steps), row["validation"])
        for row in rows
        if row["validation"] is not None
    )


def _percent(done: float, total: float) -> int:
    return round(100 * done / max(total, 1))


def _written(study: Study, preset: Path, overrides: Sequence[str]) -> Found:
    """Write the table of trials and the best run.

    Raises TrainingError where no trial has come to its end.
    """
    ended, best, measured = study.ended, study.best, MEASURED[study.config.stage]
    titles = short_names(study.config.space)
    rows = [
        {
            "trial": trial.number,
            measured: trial.value,
            **{titles[key]: in_words(value) for key, value in values_of(trial).items()},
            "seconds": trial.user_attrs.get(SECONDS),
            "ended": how_it_ended(trial),
        }
        for trial in ended
    ]
    (study.folder / TABLE).write_text(json.dumps(rows, indent=1) + "\n")
    reasons = {trial.number: trial.user_attrs.get(REASON) for trial in ended}
    failed = tuple(f"trial {number} failed: {told}" for number, told in reasons.items() if told)
    if best is None:
        raise TrainingError(
            f"none of the {len(ended)} trials came to its end; {failed[0] if failed else ''}; "
            f"change the space, or delete {study.folder} to try them again"
        )
    sets = study.overrides(best)
    sentence = (
        f"Of {len(ended)} trials, {best.number} is the best: {measured} {best.value:.4f}, on "
        "validation patients"
    )
    keys = yaml.safe_dump(keys_of_trial(preset, [*overrides, *sets]), sort_keys=False, width=100)
    head = f"# {sentence}.\n# Found by `clinfuse search {preset}`.\n"
    (study.folder / BEST).write_text(head + keys)
    words = " ".join(f"--set {shlex.quote(override)}" for override in sets)
    return Found(study.folder, sentence, words, failed)
