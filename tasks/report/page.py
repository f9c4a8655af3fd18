"""The report: one self-contained HTML page, and Markdown of the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from tasks.report.card import write_card
from tasks.report.curves import Curves
from tasks.report.document import Facts, Part, write_document
from tasks.report.facts import Label
from tasks.report.headline import headline
from tasks.report.missing import Missing, failures
from tasks.report.sections.by_label import labels_by_outcome, reasons
from tasks.report.sections.decisions import decisions
from tasks.report.sections.differences import differences
from tasks.report.sections.efficiency import efficiency
from tasks.report.sections.frequency import frequency
from tasks.report.sections.probabilities import probabilities
from tasks.report.sections.ranking import precision_figures, roc_figures
from tasks.report.sections.results import results, what_seeds_say
from tasks.report.sections.subgroups import column_title, subgroups
from tasks.report.sections.training import training_figures
from tasks.report.story import Story
from tasks.report.summaries import summaries


def write_report(out: Path, story: Story) -> list[Missing]:
    """Write `report.html` and `.md`, the card, the checklist, `headline.json` (for a terminal).

    Returns what could not be made; everything else was.
    """
    shared = {"run": story.run, "story": story, "findings": story.findings}
    rows = partial(headline, story.findings)
    with failures() as missing:
        missing += write_document(out, "report", _parts(story), shared, rows, folder="sections")
        write_card(out, story)
    return missing


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
        few = {
            label.outcome
            for label in story.labels
            if _is_alone(label, story.labels) and not story.counts.exact(label, "test")
        }
        return {
            "rocs": roc_figures(curves, findings),
            "precisions": precision_figures(curves, findings, few),
        }

    def of_labels() -> Facts:
        labels = labels_by_outcome(findings, story.labels, story.smallest_cell)
        return {"labels": labels, "withheld": reasons(labels)}

    def of_training() -> Facts:
        return {
            "training": training_figures(story.arms),
            "perplexity": findings.perplexity,
            "efficiency": efficiency(findings, story.arms, story.costs),
        }

    def of_settings() -> Facts:
        return {"settings": yaml.safe_dump(dict(story.settings), sort_keys=False, width=88)}

    return [
        Part(
            "top",
            "At a glance",
            lambda: {
                "summaries": summaries(findings),
                "seed": what_seeds_say(story.one_seed),
            },
        ),
        Part("data", "Data"),
        Part("results", "Results", of_results),
        Part("differences", "Differences", lambda: {"differences": differences(findings)}),
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


def _is_alone(label: Label, labels: Sequence[Label]) -> bool:
    """Whether it is its outcome's only label."""
    return sum(other.outcome == label.outcome for other in labels) == 1
