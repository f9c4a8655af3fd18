"""The evaluate stage: predictions of every variant -> metrics -> report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.evaluate.config import EvaluateConfig, LeaksConfig, Lineage
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.provenance import provenance
from tasks.step import Counts, step

DIFFICULTY = "synth.json"  # the generator leaves it beside truth.parquet


@dataclass(frozen=True)
class Evaluated:
    """What the stage made, and its headline table: a row an outcome, label space and variant."""

    metrics: Artifact
    report: Artifact
    table: list[dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """A run that enters a leaderboard, with what its finetuning made of each seed."""

    run: str
    cohort: Artifact
    outcomes: Mapping[str, Artifact]
    predictions: Mapping[int, Mapping[str, Mapping[str, Artifact]]]  # seed -> variant -> outcome
    adapters: Mapping[int, Artifact]  # seed -> its training history
    clinical: Artifact
    leaks: tuple[str, ...]
    settings: Mapping[str, Any]


def evaluate(
    config: EvaluateConfig,
    *,
    run: str,
    seed: int,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
    predictions: Mapping[str, Mapping[str, Artifact]],
    histories: Mapping[str, Artifact],
    perplexity: Artifact | None,
    quality: Artifact,
    contamination: Mapping[str, Any],
    leaks: tuple[str, ...],
    settings: Mapping[str, Any],
    lineage: Lineage,
) -> Evaluated:
    """Measure every variant on test and write the report.

    Args:
        run, seed: the run's name and its training seed, in every metrics row.
        outcomes: outcome -> artifact with its outcomes and labels.
        predictions: variant -> outcome -> artifact with `test.parquet`, or with
            `<variant>/<outcome>/test.parquet` among others; the first variant is the
            one whose labels and subgroups the report shows first.
        histories: a title of the stage, as the report shows it -> artifact with its training
            history.
        quality: what was counted as odd about the source.
        contamination: what the guard counted of notes nearly those of held-out patients; empty
            where nothing was compared.
        leaks: for each outcome that is predicted from more than was known, what and when.
        settings: the whole configuration, as plain values, to be printed.
        lineage: the artifacts that the run came to so far.
    """
    measured = metrics(
        run=run,
        seed=seed,
        cohort=cohort,
        outcomes=dict(outcomes),
        predictions={variant: dict(found) for variant, found in predictions.items()},
        perplexity=perplexity,
        truth=config.truth,
        subgroups=config.subgroups,
        smallest_cell=config.smallest_cell,
        bootstrap_draws=config.bootstrap_draws,
    )
    difficulty = config.truth.with_name(DIFFICULTY) if config.truth else None
    written = report(
        run=run,
        config=config,
        metrics=measured,
        cohort=cohort,
        outcomes=dict(outcomes),
        histories=dict(histories),
        difficulty=difficulty if difficulty and difficulty.is_file() else None,
        quality=quality,
        contamination=contamination,
        leaks=leaks,
        settings=dict(settings),
        lineage=lineage,
    )
    place = current_store().path(written.kind, written.key)
    return Evaluated(measured, written, json.loads((place / "headline.json").read_text()))


def compare(
    name: str, contenders: Sequence[Contender], *, reference: str | None, lineage: Lineage
) -> Evaluated:
    """Rank every model of every run over its seeds, and write the leaderboard.

    Args:
        reference: "run/variant", with which all others are compared; None: the first run's TF-IDF,
            or else its first model.
        lineage: the artifacts that the flow came to so far.
    """
    made = leaderboard(
        name=name,
        entrants=[vars(contender) for contender in contenders],
        reference=reference,
        lineage=lineage,
    )
    place = current_store().path(made.kind, made.key)
    return Evaluated(made, made, json.loads((place / "headline.json").read_text()))


@step("metrics", version=5)
def metrics(
    out: Path,
    run: str,
    seed: int,
    cohort: Path,
    outcomes: Mapping[str, Path],
    predictions: Mapping[str, Mapping[str, Path]],
    perplexity: Path | None,
    truth: Path | None,
    subgroups: bool,
    smallest_cell: int,
    bootstrap_draws: int,
) -> Counts:
    """Measure every variant on test: `metrics.parquet` and `curves.parquet`."""
    from tasks.evaluate.measuring import Work, write_metrics

    work = Work(
        cohort,
        outcomes,
        predictions,
        perplexity,
        truth,
        subgroups,
        smallest_cell,
        bootstrap_draws,
    )
    return write_metrics(out, work, run=run, seed=seed)


@step("report", version=6)
def report(
    out: Path,
    run: str,
    config: EvaluateConfig,
    metrics: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    histories: Mapping[str, Path],
    difficulty: Path | None,
    quality: Path,
    contamination: Mapping[str, Any],
    leaks: tuple[str, ...],
    settings: Mapping[str, Any],
    lineage: Lineage,
) -> Counts:
    """Write the report: `report.html` and `.md`, `model-card.md`, `tripod-ai.md`, and numbers."""
    from tasks.evaluate.report.facts import (
        Making,
        read_arms,
        read_cohort,
        read_costs,
        read_difficulty,
        read_labels,
        read_quality,
    )
    from tasks.evaluate.report.findings import Findings
    from tasks.evaluate.report.page import write_report
    from tasks.evaluate.report.story import Story

    story = Story(
        run=run,
        findings=Findings.read(metrics / "metrics.parquet"),
        cohort=read_cohort(cohort),
        labels=read_labels(outcomes),
        arms=read_arms(histories),
        curves=metrics / "curves.parquet",
        difficulty=read_difficulty(difficulty),
        quality=read_quality(quality),
        contamination=contamination,
        leaks=leaks,
        settings=settings,
        lineage=lineage,
        config=config,
        made=Making.of(provenance()),
        costs=read_costs(lineage),
    )
    missing = write_report(out, story)
    size = {"bytes": (out / "report.html").stat().st_size}
    return size | ({"parts_missing": len(missing)} if missing else {})


@step("leaderboard", version=3)
def leaderboard(
    out: Path,
    name: str,
    entrants: list[dict[str, Any]],
    reference: str | None,
    lineage: Lineage,
) -> Counts:
    """Rank runs over their seeds: `metrics.parquet`, `report.html`, `report.md`, `headline.json`.

    Args:
        entrants: the fields of each `Contender`, in the order of the runs.
    """
    from tasks.evaluate.leaderboard_write import write_leaderboard
    from tasks.evaluate.report.facts import Making

    made = Making.of(provenance())
    return write_leaderboard(out, name, entrants, reference, lineage, made)


@step("leaks", version=2)
def audit_leaks(
    out: Path, sections: Path, cohort: Path, outcomes: Mapping[str, Path], config: LeaksConfig
) -> Counts:
    """Look for sections that give an outcome away: tables leaks and terms, and `leaks.md`."""
    from tasks.evaluate.audit.leaks import write_leaks

    return write_leaks(out, sections, cohort, outcomes, config)
