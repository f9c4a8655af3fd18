"""A search: trials of a run, one after another, and what they found."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from flows.config import AdaptConfig
from flows.hooks import HOOKS
from flows.loading import keys_of_trial, load_trial
from flows.space import check_search, in_words, short_names
from flows.stages import run_name
from flows.study import REASON, SECONDS, Study, how_it_ended, report, values_of
from flows.trial import Tried, measured_by, member_of, percent_of, trial_run
from tasks.errors import (
    ConfigError,
    EvaluationError,
    ModelError,
    Pruned,
    StepFailed,
    TrainingError,
)
from tasks.flow_run import current_store
from tasks.reporting import Reading, listening

BEST, TABLE = "best.yaml", "table.json"  # in the search's folder
FAILS_ALONE = (ConfigError, ModelError, TrainingError, EvaluationError, StepFailed)


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    folder: Path  # with BEST and TABLE
    sentence: str  # which trial is the best
    sets: str  # what it differs in, as `clinfuse run` takes it
    failed: tuple[str, ...]  # a sentence for each trial that has no value


@flow(
    name="search", flow_run_name=run_name, persist_result=False, result_serializer="json", **HOOKS
)
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
        measured = measured_by(study.config)
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
    member, finetuning = member_of(run, study.config), run.finetune
    frozen = finetuning.adapter is None
    one = finetuning.joint and all(
        len(summand.weights(frozen_trunk=frozen)) == 1 for summand in member.summands
    )

    def listen(reading: Reading) -> None:
        judged = reading.judged
        if not one or judged is None or judged.training != member.name:
            return
        percent = percent_of(reading.done, reading.total)
        report(trial, percent, judged.value)
        if percent < 100 and trial.should_prune():
            raise Pruned(
                f"trial {trial.number} was given up at {percent}% of its training, where its "
                "validation was below the median of the trials before; see pruner"
            )

    return listen


def _written(study: Study, preset: Path, overrides: Sequence[str]) -> Found:
    """Write the table of trials and the best run.

    Raises TrainingError where no trial has come to its end.
    """
    ended, best, measured = study.ended, study.best, measured_by(study.config)
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
