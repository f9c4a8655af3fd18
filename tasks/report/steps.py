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
from tasks.report.config import Adapted, Lineage, Published
from tasks.step import Counts, step

DIFFICULTY = "synth.json"  # the generator leaves it beside truth.parquet


@dataclass(frozen=True)
class Reported:
    """What the stage made, and its headline table: a row an outcome, label space and variant."""

    report: Artifact
    table: list[dict[str, Any]]

    @classmethod
    def of(cls, report: Artifact) -> Reported:
        """A report or a leaderboard."""
        folder = current_store().path(report.kind, report.key)
        return cls(report, json.loads((folder / "headline.json").read_text()))


def difficulty_of(truth: Path | None) -> Path | None:
    """What the synthetic generator says of its data; None where it says nothing."""
    path = truth.with_name(DIFFICULTY) if truth else None
    return path if path and path.is_file() else None


@step("report", version=11)
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
    """Write the report of a run: `report.html` and `.md`, `model-card.md`, `tripod-ai.md`.

    Args:
        histories: the title of what was trained, as the report shows it -> the artifacts with its
            training histories.
        quality: what was counted as odd about the source.
        contamination: what the guard counted of notes nearly those of held-out patients; empty
            where nothing was compared.
        leaks: for each outcome that is predicted from more than was known, what and when.
        settings: the whole configuration, as plain values, to be printed.
        lineage: the artifacts that the run came to so far.
        smallest_cell: the smallest count of patients or admissions that is printed.
        synthetic: whether the patients were generated.
    """
    from tasks.report import facts
    from tasks.report.findings import Findings
    from tasks.report.page import write_report
    from tasks.report.story import Story

    findings = Findings.read(metrics)
    story = Story(
        run=run,
        findings=findings,
        cohort=facts.read_cohort(cohort),
        labels=facts.read_labels(outcomes),
        arms=facts.read_arms(histories, findings.records),
        curves=metrics / "curves.parquet",
        difficulty=facts.read_difficulty(difficulty),
        quality=facts.read_quality(quality),
        contamination=contamination,
        leaks=leaks,
        settings=settings,
        lineage=lineage,
        smallest_cell=smallest_cell,
        synthetic=synthetic,
        published=published,
        made=facts.Making.of(provenance()),
        costs=facts.read_costs(lineage),
    )
    return _counts(out, write_report(out, story))


@step("leaderboard", version=7)
def write_leaderboard(
    out: Path,
    name: str,
    standings: Path,
    cohort: Path,
    settings: Mapping[str, Mapping[str, Any]],
    leaks: Mapping[str, tuple[str, ...]],
    lineage: Lineage,
    smallest_cell: int,
    synthetic: bool,
    published: Published | None = None,
) -> Counts:
    """Write the leaderboard: `report.html`, `report.md`, `headline.json`.

    Args:
        cohort: the first run's; all have the same test admissions.
        settings: run -> its whole configuration, as plain values.
        leaks: run -> for each outcome that is predicted from more than was known, what and when.
        lineage: the artifacts that the flow came to so far.
    """
    from tasks.report.facts import Making, read_cohort
    from tasks.report.leaderboard_page import Leaderboard, write_page
    from tasks.standings import Standings

    page = Leaderboard(
        name=name,
        standings=Standings.read(standings),
        settings=settings,
        leaks=leaks,
        lineage=lineage,
        cohort=read_cohort(cohort),
        smallest_cell=smallest_cell,
        synthetic=synthetic,
        published=published,
        made=Making.of(provenance()),
    )
    return _counts(out, write_page(out, page))


@step("leaderboard", version=1)
def write_methods(
    out: Path,
    name: str,
    metrics: Path,
    adapters: Mapping[str, Path],
    methods: Mapping[str, Adapted],
    settings: Mapping[str, Mapping[str, Any]],
    lineage: Lineage,
    smallest_cell: int,
    synthetic: bool,
) -> Counts:
    """Write the table of clinical adapters: `report.html`, `report.md`, `headline.json`.

    Args:
        metrics: of all runs: how likely unseen notes are before and after.
        adapters: run -> the adapter, for what its training took.
        settings: run -> how it was pretrained, as plain values.
        lineage: the artifacts that the flow came to so far.
    """
    from tasks.report.facts import Making
    from tasks.report.methods_page import Methods, entries, write_page

    page = Methods(
        name=name,
        entries=entries(metrics, adapters, methods, smallest_cell),
        settings=settings,
        lineage=lineage,
        synthetic=synthetic,
        made=Making.of(provenance()),
    )
    return _counts(out, write_page(out, page))


def _counts(out: Path, missing: Sequence[object]) -> Counts:
    size = {"bytes": (out / "report.html").stat().st_size}
    return size | ({"parts_missing": len(missing)} if missing else {})
