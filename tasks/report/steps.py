"""The report stage: metrics of a run -> its pages; metrics of several -> a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.provenance import provenance
from tasks.report.config import Lineage, ReportConfig
from tasks.step import Counts, step

DIFFICULTY = "synth.json"  # the generator leaves it beside truth.parquet


@dataclass(frozen=True)
class Reported:
    """What the stage made, and its headline table: a row an outcome, label space and variant."""

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


def report(
    config: ReportConfig,
    *,
    run: str,
    metrics: Artifact,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
    histories: Mapping[str, tuple[Artifact, ...]],
    quality: Artifact,
    contamination: Mapping[str, Any],
    leaks: tuple[str, ...],
    settings: Mapping[str, Any],
    lineage: Lineage,
    smallest_cell: int,
    truth: Path | None,
) -> Reported:
    """Write the report of a run.

    Args:
        run: the run's name.
        histories: the title of what was trained, as the report shows it -> the artifacts with its
            training histories.
        quality: what was counted as odd about the source.
        contamination: what the guard counted of notes nearly those of held-out patients; empty
            where nothing was compared.
        leaks: for each outcome that is predicted from more than was known, what and when.
        settings: the whole configuration, as plain values, to be printed.
        lineage: the artifacts that the run came to so far.
        smallest_cell: the smallest count of patients or admissions that is printed.
        truth: the synthetic generator's truth; None: the patients are real.
    """
    difficulty = truth.with_name(DIFFICULTY) if truth else None
    written = write_pages(
        run=run,
        metrics=metrics,
        cohort=cohort,
        outcomes=dict(outcomes),
        histories=dict(histories),
        difficulty=difficulty if difficulty and difficulty.is_file() else None,
        quality=quality,
        contamination=contamination,
        leaks=leaks,
        settings=dict(settings),
        lineage=lineage,
        smallest_cell=smallest_cell,
        synthetic=truth is not None,
        published=config.published,
    )
    return _reported(written)


def compare(
    name: str, contenders: Sequence[Contender], *, reference: str | None, lineage: Lineage
) -> Reported:
    """Rank every model of every run over its seeds, and write the leaderboard.

    Args:
        reference: "run/variant", with which all others are compared; None: the first run's TF-IDF,
            or else its first model.
        lineage: the artifacts that the flow came to so far.
    """
    made = rank(
        name=name,
        entrants=[vars(contender) for contender in contenders],
        reference=reference,
        lineage=lineage,
    )
    return _reported(made)


def _reported(artifact: Artifact) -> Reported:
    folder = current_store().path(artifact.kind, artifact.key)
    return Reported(artifact, json.loads((folder / "headline.json").read_text()))


@step("report", version=7)
def write_pages(
    out: Path,
    run: str,
    metrics: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    histories: Mapping[str, tuple[Path, ...]],
    difficulty: Path | None,
    quality: Path,
    contamination: Mapping[str, Any],
    leaks: tuple[str, ...],
    settings: Mapping[str, Any],
    lineage: Lineage,
    smallest_cell: int,
    synthetic: bool,
    published: bool,
) -> Counts:
    """Write the report: `report.html` and `.md`, `model-card.md`, `tripod-ai.md`, and numbers."""
    from tasks.report.facts import (
        Making,
        read_arms,
        read_cohort,
        read_costs,
        read_difficulty,
        read_labels,
        read_quality,
    )
    from tasks.report.findings import Findings
    from tasks.report.page import write_report
    from tasks.report.story import Story

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
        smallest_cell=smallest_cell,
        synthetic=synthetic,
        published=published,
        made=Making.of(provenance()),
        costs=read_costs(lineage),
    )
    missing = write_report(out, story)
    size = {"bytes": (out / "report.html").stat().st_size}
    return size | ({"parts_missing": len(missing)} if missing else {})


@step("leaderboard", version=3)
def rank(
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
    from tasks.report.facts import Making

    made = Making.of(provenance())
    return write_leaderboard(out, name, entrants, reference, lineage, made)
