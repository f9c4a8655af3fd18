"""The trials of a search, kept in the store, so that a search that was killed goes on.

STORE/searches/<name>-<key>/trials.jsonl   Optuna's journal, a line of JSON for each thing that
                                           happens to a trial; it can hold no code
STORE/searches/<name>-<key>/best.yaml      the best run so far
STORE/searches/<name>-<key>/table.json     all trials, the best first

The key is a hash of the run and of how it is searched, but for the number of trials: with more of
them a search goes on. A trial that was cut short is tried again with the same values, so that its
training goes on from its checkpoint. What the sampler draws for a trial follows from the seed, the
trial's number and the trials that ended before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from flows.config import SearchConfig
from flows.space import Value, distributions, grid, overrides_of
from tasks.keys import key_of
from tasks.store import Store
from tasks.store.folder import SEARCHES

JOURNAL = "trials.jsonl"
VERSION = 1  # of what a trial's value means
REASON, SECONDS = "reason", "seconds"  # what is noted of a trial beside its value
# trials that came to their end before one is pruned, and how much of a training each may have:
# 5 is Optuna's; at less than a quarter of a training the rate has hardly begun to fall
PRUNED_AFTER_TRIALS, PRUNED_AFTER_PERCENT = 5, 25


@dataclass(frozen=True)
class Study:
    """A search's trials, of which this process alone asks and tells."""

    config: SearchConfig
    folder: Path
    study: optuna.Study

    @classmethod
    @contextmanager
    def opened(
        cls, store: Store, config: SearchConfig, waiting: Callable[[], None] | None = None
    ) -> Iterator[Study]:
        """The search's study, begun where there is none; `waiting` is told of another run of it."""
        name = f"{config.name}-{_key(store, config)}"
        folder = store.root / SEARCHES / name
        with store.lock(SEARCHES, name, waiting=waiting):
            folder.mkdir(parents=True, exist_ok=True)
            _mend(folder / JOURNAL)
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
                study_name=name,
                direction="maximize" if config.stage == "finetune" else "minimize",
                pruner=_pruner(config),
                load_if_exists=True,
            )
            yield cls(config, folder, study)

    def ask(self) -> Trial | None:
        """The trial that was cut short, or else the next one; None where all have ended."""
        known = self.study.get_trials(deepcopy=False)
        cut_short = [trial for trial in known if trial.state == TrialState.RUNNING]
        number = cut_short[0].number if cut_short else len(known)
        self.study.sampler = _sampler(self.config, number)
        if cut_short:
            trial = Trial(self.study, cut_short[0]._trial_id)
        elif any(trial.state == TrialState.WAITING for trial in known):
            trial = self.study.ask()
        elif number >= self.config.trials:
            return None
        else:
            if self.config.sampler == "grid":
                points = grid(self.config)
                if number >= len(points):
                    return None
                self.study.enqueue_trial(points[number])
            trial = self.study.ask()
        for key, distribution in distributions(self.config).items():
            trial._suggest(key, distribution)
        return trial

    def overrides(self, trial: Trial | FrozenTrial) -> tuple[str, ...]:
        """What is tried in a trial, as `--set` takes it."""
        return overrides_of({key: trial.params[key] for key in self.config.space})

    def tell(self, trial: Trial, value: float, curve: Sequence[tuple[int, float]]) -> None:
        """That the trial came to its end.

        Args:
            curve: percent of the training -> value; pruning compares later trials with it.
        """
        for percent, reached in curve:
            report(trial, percent, reached)
        self.study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        """That the trial was given up at what was last reported."""
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """That the trial has no value."""
        trial.set_user_attr(REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, the best first, those without a value last."""
        sign = -1.0 if self.config.stage == "finetune" else 1.0
        ended = [trial for trial in self.study.get_trials() if trial.state.is_finished()]
        last = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.FAIL: 2}
        return sorted(ended, key=lambda trial: (last[trial.state], sign * (trial.value or 0.0)))

    @property
    def best(self) -> FrozenTrial | None:
        """The best of the trials that came to their end."""
        best = next(iter(self.ended), None)
        return best if best and best.state == TrialState.COMPLETE else None


def report(trial: Trial, percent: int, value: float) -> None:
    """Note a value of a trial on the way, once."""
    if percent not in trial.storage.get_trial(trial._trial_id).intermediate_values:
        trial.report(value, percent)


def how_it_ended(trial: FrozenTrial) -> str:
    """How a trial ended, in a few words; empty: as it should."""
    match trial.state:
        case TrialState.PRUNED:
            return f"pruned at {trial.last_step}%"
        case TrialState.FAIL:
            return "failed"
        case _:
            return ""


def values_of(trial: FrozenTrial) -> dict[str, Value]:
    """What was tried."""
    return dict(trial.params)


def _key(store: Store, config: SearchConfig) -> str:
    """Of all that decides what the values of the trials are, and which they are."""
    decides = {"ingest", "pretrain", "finetune", "space", "sampler", "pruner", "seed", "stage"}
    if config.stage == "finetune":
        decides.add("member")
    arguments = {name: getattr(config, name) for name in sorted(decides)}
    return key_of("search", VERSION, arguments, store.fingerprints)


def _sampler(config: SearchConfig, number: int) -> BaseSampler:
    """A sampler for the trial of that number alone: its draws do not depend on who drew before."""
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    return TPESampler(seed=seed) if config.sampler == "tpe" else RandomSampler(seed=seed)


def _pruner(config: SearchConfig) -> BasePruner:
    match config.pruner:
        case "median":
            return MedianPruner(PRUNED_AFTER_TRIALS, PRUNED_AFTER_PERCENT)
        case "none":
            return NopPruner()


def _mend(journal: Path) -> None:
    """Drop what a process that was killed left behind: half a line, and Optuna's own lock."""
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if journal.exists():
        whole = journal.read_bytes().rpartition(b"\n")
        os.truncate(journal, len(whole[0]) + len(whole[1]))
