"""The evaluate stage: predictions of every variant -> metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.evaluate.config import EvaluateConfig
from tasks.keys import Artifact
from tasks.metrics_table import NEXT_TOKEN
from tasks.step import Counts, step


@step("metrics", version=7)
def evaluate(
    out: Path,
    config: EvaluateConfig,
    run: str,
    seed: int,
    cohort: Path,
    outcomes: Mapping[str, Path],
    predictions: tuple[Path, ...],
    perplexity: Path | None,
    perplexity_of: str = NEXT_TOKEN,
    evidence: tuple[Path, ...] = (),
) -> Counts:
    """Measure every variant on test: `metrics.parquet`, `curves.parquet`, `variants.json`.

    Args:
        run, seed: the run's name and its training seed, in every metrics row.
        outcomes: outcome -> artifact with its outcomes and labels.
        predictions: artifacts that hold `<variant>/variant.json`, the record of what predicted,
            and `<variant>/<outcome>/{validation,test}.parquet`; of the first one's member the
            report shows labels and subgroups.
        perplexity_of: what its tokens are; None of them where no clinical adapter was made.
        evidence: artifacts of what heads read of some admissions, and what taking it out does.
    """
    from tasks.evaluate.measuring import Work, write_metrics

    work = Work(
        cohort,
        outcomes,
        predictions,
        perplexity,
        perplexity_of=perplexity_of,
        evidence=evidence,
        **dict(config),
    )
    return write_metrics(out, work, run=run, seed=seed)


def stack(
    *, members: Sequence[Artifact], baselines: Sequence[Artifact], outcomes: Mapping[str, Artifact]
) -> tuple[Artifact, ...]:
    """The predictions of each member together with each baseline.

    Args:
        members, baselines: artifacts of predictions.
    """
    return tuple(
        stack_member(member=member, baseline=baseline, outcomes=dict(outcomes))
        for member in members
        for baseline in baselines
    )


@step("predictions", version=1)
def stack_member(out: Path, member: Path, baseline: Path, outcomes: Mapping[str, Path]) -> Counts:
    """Add a baseline's predictions to a member's, at the weight that validation chooses."""
    from tasks.evaluate.stack import write_stack

    return write_stack(out, member, baseline, outcomes)


@step("adapter-metrics", version=1)
def measure_adapters(
    out: Path, perplexities: Mapping[str, Path], measured_over: Mapping[str, str]
) -> Counts:
    """How likely unseen notes are before and after each run's pretraining: `metrics.parquet`.

    Args:
        perplexities: run -> artifact of the likelihoods of validation patients' notes.
        measured_over: run -> what the tokens are.
    """
    from tasks.evaluate.perplexity import write_adapter_metrics

    return write_adapter_metrics(out, perplexities, measured_over)


@dataclass(frozen=True)
class Contender:
    """A run that enters a leaderboard, with what its finetuning made of each seed."""

    run: str
    cohort: Artifact
    outcomes: Mapping[str, Artifact]
    predictions: Mapping[int, tuple[Artifact, ...]]
    adapters: Mapping[int, tuple[Artifact, ...]]  # one a member
    clinical: Artifact | None  # None: no member has it
    ontology: Artifact | None = None


def rank(contenders: Sequence[Contender], *, reference: str | None) -> Artifact:
    """Rank every model of every run over its seeds.

    Args:
        reference: "run/variant", with which all others are compared; None: the first run's
            baseline, or else its first model.
    """
    entrants = [
        {name: value for name, value in vars(contender).items() if value is not None}
        for contender in contenders
    ]
    return rank_runs(entrants=entrants, reference=reference)


@step("standings", version=2)
def rank_runs(out: Path, entrants: list[dict[str, Any]], reference: str | None) -> Counts:
    """Rank runs over their seeds: `metrics.parquet`, and `standings.json` for the leaderboard.

    Args:
        entrants: the fields of each `Contender`, in the order of the runs.
    """
    from tasks.evaluate.leaderboard import write_standings
    from tasks.evaluate.leaderboard_entries import Entrant

    return write_standings(out, [Entrant(**entrant) for entrant in entrants], reference)
