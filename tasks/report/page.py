"""The report: one self-contained HTML page, and Markdown of the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tasks.metrics_table import NEXT_TOKEN
from tasks.report.card import write_card
from tasks.report.curves import Curves
from tasks.report.document import Facts, Part, written
from tasks.report.facts import Label
from tasks.report.headline import headline
from tasks.report.missing import Missing, attempt, failures
from tasks.report.printing import environment
from tasks.report.sections.by_label import labels_by_outcome, reasons
from tasks.report.sections.decisions import decisions
from tasks.report.sections.differences import differences, pair_title
from tasks.report.sections.efficiency import efficiency
from tasks.report.sections.frequency import frequency
from tasks.report.sections.probabilities import probabilities
from tasks.report.sections.ranking import precision_figures, roc_figures
from tasks.report.sections.results import results, what_seeds_say
from tasks.report.sections.subgroups import column_title, subgroups
from tasks.report.sections.training import training_figures
from tasks.report.story import Story
from tasks.report.summaries import glance


def write_report(out: Path, story: Story) -> list[Missing]:
    """Write `report.html` and `.md`, the card, the checklist, `headline.json` (for a terminal).

    Returns what could not be made; everything else was.
    """
    with failures() as missing:
        rows = attempt("the headline", partial(headline, story.findings))
        table = [] if isinstance(rows, Missing) else rows
        (out / "headline.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
        templates, shared = environment(), _shared(story)
        for form, sections in written(templates, "sections", _parts(story), shared).items():
            top = [section for section in sections if section.name == "top"]
            given = {**shared, "top": top, "sections": sections[len(top) :]}
            text = templates.get_template(f"report.{form}").render(given)
            (out / f"report.{form}").write_text(text, encoding="utf-8")
        write_card(out, story)
    return missing


def _shared(story: Story) -> dict[str, Any]:
    return {"run": story.run, "story": story, "findings": story.findings}


def _parts(story: Story) -> list[Part]:
    """The sections of the report in their order; the first stands above the list of them."""
    findings, curves = story.findings, Curves.read(story.curves)

    def of_results() -> Facts:
        one_patient = any((row["value"] or 0) > 0 for row in findings.of("labels_of_one_patient"))
        return {
            "results": results(findings, story.published, story.one_seed),
            "one_patient": one_patient,
        }

    def of_curves() -> Facts:
        alone = [label for label in story.labels if _alone(label, story.labels)]
        few = {label.outcome for label in alone if not story.counts.exact(label, "test")}
        return {
            "rocs": roc_figures(curves, findings),
            "precisions": precision_figures(curves, findings, few),
        }

    def of_labels() -> Facts:
        found = labels_by_outcome(findings, story.labels, story.smallest_cell)
        return {"labels": found, "withheld": reasons(found)}

    def of_training() -> Facts:
        perplexity = {
            name: findings.get(f"perplexity_{name}", "clinical", NEXT_TOKEN)
            for name in ("before", "after", "ratio")
        }
        return {
            "training": training_figures(story.arms),
            "perplexity": perplexity,
            "efficiency": efficiency(findings, story.arms, story.costs),
        }

    def of_settings() -> Facts:
        return {"settings": yaml.safe_dump(dict(story.settings), sort_keys=False, width=88)}

    return [
        Part(
            "top",
            "At a glance",
            lambda: {"glance": glance(findings), "seed": what_seeds_say(story.one_seed)},
        ),
        Part("data", "Data"),
        Part("results", "Results", of_results),
        Part(
            "differences",
            "Differences",
            lambda: {"differences": differences(findings), "pair_title": pair_title},
        ),
        Part("curves", "Curves", of_curves),
        Part(
            "probabilities",
            "Probabilities",
            lambda: {"probabilities": probabilities(curves, findings)},
        ),
        Part("decisions", "Decisions", lambda: {"decisions": decisions(curves, findings)}),
        Part(
            "frequency",
            "Label frequency",
            lambda: {"frequency": frequency(findings, story.labels, story.counts)},
        ),
        Part("labels", "Labels", of_labels),
        Part(
            "subgroups",
            "Subgroups",
            lambda: {
                "subgroups": subgroups(findings, story.counts),
                "column_title": column_title,
            },
        ),
        Part("training", "Training and cost", of_training),
        Part("numbers", "What the numbers mean", lambda: {"one_seed": story.one_seed}),
        Part("config", "Configuration", of_settings),
        Part("lineage", "Lineage"),
    ]


def _alone(label: Label, labels: Sequence[Label]) -> bool:
    """Whether it is its outcome's only label."""
    return sum(other.outcome == label.outcome for other in labels) == 1
