"""The report: one self-contained HTML page, and Markdown of the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tasks.evaluate.config import EvaluateConfig, Lineage
from tasks.evaluate.perplexity import OUTCOME
from tasks.evaluate.report.card import write_card
from tasks.evaluate.report.curves import Curves
from tasks.evaluate.report.facts import Arm, Cohort, Cost, Label
from tasks.evaluate.report.findings import Findings, summary
from tasks.evaluate.report.glance import glance
from tasks.evaluate.report.printing import environment
from tasks.evaluate.report.sections.by_label import labels_by_outcome
from tasks.evaluate.report.sections.decisions import decisions
from tasks.evaluate.report.sections.differences import differences, pair_title
from tasks.evaluate.report.sections.efficiency import efficiency
from tasks.evaluate.report.sections.frequency import frequency
from tasks.evaluate.report.sections.probabilities import probabilities
from tasks.evaluate.report.sections.ranking import precision_figures, roc_figures
from tasks.evaluate.report.sections.results import results
from tasks.evaluate.report.sections.subgroups import column_title, subgroups
from tasks.evaluate.report.sections.training import training_figures


@dataclass(frozen=True)
class Story:
    """All that a report tells."""

    run: str
    findings: Findings
    cohort: Cohort
    labels: Sequence[Label]
    arms: Sequence[Arm]
    curves: Path  # curves.parquet
    difficulty: Mapping[str, Any]
    quality: Sequence[Mapping[str, Any]]  # checks of the source that hit a row
    contamination: Mapping[str, Any]  # what the guard counted; empty where nothing was compared
    leaks: Sequence[str]  # sentences: what was known too early
    settings: Mapping[str, Any]
    lineage: Lineage
    config: EvaluateConfig
    costs: Mapping[str, Cost] = field(default_factory=dict)  # by arm: what no history tells


def write_report(out: Path, story: Story) -> None:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal)."""
    templates = environment(story.config.smallest_cell)
    context = _context(story)
    for name in ("report.html", "report.md"):
        (out / name).write_text(templates.get_template(name).render(context), encoding="utf-8")
    rows = [{key: _rounded(value) for key, value in row.items()} for row in summary(story.findings)]
    (out / "headline.json").write_text(json.dumps(rows, indent=1))
    write_card(out, story)


def _context(story: Story) -> dict[str, Any]:
    findings, curves = story.findings, Curves.read(story.curves)
    smallest = story.config.smallest_cell
    return {
        "run": story.run,
        "story": story,
        "findings": findings,
        "glance": glance(findings),
        "results": results(findings, story.config.published),
        "differences": differences(findings),
        "pair_title": pair_title,
        "rocs": roc_figures(curves, findings),
        "precisions": precision_figures(curves, findings),
        "probabilities": probabilities(curves, findings),
        "decisions": decisions(curves, findings),
        "frequency": frequency(findings, story.labels, smallest),
        "labels": labels_by_outcome(findings, story.labels, smallest),
        "subgroups": subgroups(findings, smallest),
        "column_title": column_title,
        "training": training_figures(story.arms),
        "perplexity": {
            name: findings.get(f"perplexity_{name}", "clinical", OUTCOME)
            for name in ("before", "after", "ratio")
        },
        "efficiency": efficiency(findings, story.arms, story.costs),
        "settings": yaml.safe_dump(dict(story.settings), sort_keys=False, width=88),
        "one_patient": any((row["value"] or 0) > 0 for row in findings.of("labels_of_one_patient")),
    }


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
