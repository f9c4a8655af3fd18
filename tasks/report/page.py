"""The report: one self-contained HTML page, and Markdown of the same."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import yaml

from tasks.report.card import write_card
from tasks.report.curves import Curves
from tasks.report.document import Facts, Part, write_document
from tasks.report.missing import Missing, failures
from tasks.report.sections.by_label import labels_by_outcome, reasons
from tasks.report.sections.decisions import decisions
from tasks.report.sections.differences import differences
from tasks.report.sections.efficiency import efficiency
from tasks.report.sections.evidence import evidence
from tasks.report.sections.frequency import frequency
from tasks.report.sections.probabilities import probabilities
from tasks.report.sections.ranking import averaged_curves
from tasks.report.sections.results import results, what_seeds_say
from tasks.report.sections.subgroups import subgroups
from tasks.report.sections.training import likelihoods, training_figures
from tasks.report.story import Story
from tasks.report.summaries import headline, summaries


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
    labels, counts = story.labels, story.counts

    return [
        Part("top", "At a glance", partial(_top, story)),
        Part("data", "Data"),
        Part("results", "Results", partial(results, findings, story.published, story.one_seed)),
        Part("differences", "Differences", partial(differences, findings)),
        Part("curves", "Curves", partial(_curves, story, curves)),
        Part("probabilities", "Probabilities", partial(probabilities, curves, findings)),
        Part("decisions", "Decisions", partial(decisions, curves, findings)),
        Part("frequency", "Label frequency", partial(frequency, findings, labels, counts)),
        Part("labels", "Labels", partial(_labels, story)),
        Part("subgroups", "Subgroups", lambda: {"subgroups": subgroups(findings, counts)}),
        Part("evidence", "Attention as evidence", partial(evidence, findings)),
        Part("training", "Training and cost", partial(_training, story)),
        Part("numbers", "What the numbers mean", lambda: {"one_seed": story.one_seed}),
        Part("config", "Configuration", partial(_settings, story)),
        Part("lineage", "Lineage"),
    ]


def _top(story: Story) -> Facts:
    return {"summaries": summaries(story.findings), "seed": what_seeds_say(story.one_seed)}


def _curves(story: Story, curves: Curves) -> Facts:
    sizes = Counter(label.outcome for label in story.labels)
    few = {
        label.outcome
        for label in story.labels
        if sizes[label.outcome] == 1 and not story.counts.exact(label, "test")
    }
    return averaged_curves(curves, story.findings, few)


def _labels(story: Story) -> Facts:
    labels = labels_by_outcome(story.findings, story.labels, story.smallest_cell)
    return {"labels": labels, "withheld": reasons(labels)}


def _training(story: Story) -> Facts:
    return {
        "training": training_figures(story.arms),
        "likelihood": story.findings.likelihood,
        "likelihoods": likelihoods(story.findings),
        **efficiency(story.findings, story.arms, story.costs),
    }


def _settings(story: Story) -> Facts:
    return {"settings": yaml.safe_dump(dict(story.settings), sort_keys=False, width=88)}
