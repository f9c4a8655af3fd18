"""Each section of the report: its numbers in both forms, and nothing where nothing was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from tasks.metrics_table import FITTED_OUTPUT, OWN_OUTPUT, to_table
from tasks.report.card import write_card
from tasks.report.config import Lineage, Origin
from tasks.report.curves import Curves
from tasks.report.facts import Arm, Cost, Label, read_costs
from tasks.report.findings import Findings
from tasks.report.page import write_report
from tasks.report.sections.by_label import MOST_ROWS, labels_by_outcome
from tasks.report.sections.decisions import decisions
from tasks.report.sections.efficiency import efficiency
from tasks.report.sections.frequency import frequency
from tasks.report.sections.training import MASKED, likelihoods
from tasks.report.story import Story
from tests.report.made_up_rows import GAP_METHOD, findings_of

SECTIONS = {  # what a section says in both forms, of numbers that were made up
    "one seed": ["One training seed: this checkpoint only"],
    "other averages": ["Weighted by cases", "Average precision, macro", "0.580", "0.560 to 0.600"],
    "published": ["this run", "published", "0.7852"[:5]],
    "other differences": ["+0.012", "p 0.017"],
    "precision and recall": ["Precision at a recall of 0.50: Fused 0.36", "Guessing: 0.08"],
    "calibration": [
        "0.0700 \u2192 0.0600",
        "0.270 \u2192 0.030",
        "0.61 \u2192 0.98",
        "-0.84 \u2192 -0.02",
        "17 of 60 labels",
    ],
    "calibration by band": ["1,000 or more cases (5 labels)", "0.300"],
    "reliability": ["Diagnoses, as predicted", "0.60 predicted, 0.46 observed"],
    "decision curves": ["better than treating all and than treating none at thresholds between"],
    "F1": ["F1, macro", "F1, micro", "0.310", "0.290 to 0.330"],
    "coding": ["Precision at 8", "R-precision", "MAP", "0.537"],
    "bands": ["25-99 cases", "0.690", "0.660 to 0.720"],
    "labels": ["no title", "<10"],
    "subgroups": ["Admission type", "chosen after looking", GAP_METHOD, "0.046", "0.031"],
    "evidence": ["Attention as evidence", "0.213", "0.193 to 0.233", "+0.329", "+0.309 to +0.349"],
    "cost": ["3,276,800", "514,460"],  # the clinical and the task adapter together
    "learning": ["from 0.575 to 0.800"],
    "links": ["model-card.md", "tripod-ai.md"],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_its_numbers_in_both_forms(folder: Path, page: str, section: str) -> None:
    for text in (unescape(page), unescape((folder / "report.md").read_text())):
        for words in SECTIONS[section]:
            assert words in text


def test_what_was_not_measured_is_left_out(plain_story: Story, tmp_path: Path) -> None:
    write_report(tmp_path, replace(plain_story, arms=(), costs={}))
    page, text = ((tmp_path / f"report.{form}").read_text() for form in ("html", "md"))
    for words in ("Other averages", "F1", "Coding", "Reliability", "Net benefit", "gap between"):
        assert words not in page
        assert words not in text
    assert 'id="probabilities"' not in page
    assert "#probabilities" not in page
    assert "ROC" in text


def test_a_withheld_interval_says_why(story: Story, tmp_path: Path) -> None:
    reason = "3 patients with the label"
    rows = [
        row | {"low": None, "high": None, "method": f"interval withheld: {reason}"}
        if (row["metric"], row["outcome"], row["variant"]) == ("auroc_macro", "mortality", "tfidf")
        else row
        for row in story.findings.rows
    ]
    write_report(tmp_path, replace(story, findings=findings_of(rows)))
    for form in ("html", "md"):
        written = (tmp_path / f"report.{form}").read_text()
        assert f"In-hospital mortality (one label), TF-IDF: {reason}" in written
        assert "interval withheld" in written


def test_several_seeds_are_not_called_one(story: Story, tmp_path: Path) -> None:
    rows = [row | {"seed": None} for row in story.findings.rows]
    write_report(tmp_path, replace(story, findings=findings_of(rows)))
    for form in ("html", "md"):
        written = (tmp_path / f"report.{form}").read_text()
        assert "Several training seeds" in written
        assert "one seed)" not in written


def test_the_fused_model_carries_the_cost_of_its_clinical_adapter(story: Story) -> None:
    def costs_of(arms: Sequence[Arm], known: Mapping[str, Cost]) -> dict[str, Cost]:
        costs = efficiency(story.findings, arms, known)["costs"]
        return {variant.name: cost for variant, cost in costs}

    costs = costs_of(story.arms, story.costs)
    arms = {arm.name: arm for arm in story.arms}
    assert costs["fused"].seconds == arms["clinical"].seconds + arms["fused"].seconds
    assert costs["unfused"].seconds == arms["unfused"].seconds
    assert costs["tfidf"] == Cost(seconds=12.3)
    without = tuple(arm for arm in story.arms if arm.name != "clinical")
    costs = {name: cost for name, cost in story.costs.items() if name != "clinical"}
    assert "fused" not in costs_of(without, costs), "half a cost"
    twice = costs_of([*story.arms, arms["unfused"]], story.costs)["unfused"]
    assert twice.seconds == 2 * arms["unfused"].seconds, "an adapter for each of two outcomes"


def test_costs_come_from_the_manifests() -> None:
    def origin(kind: str, **counts: float | str) -> Origin:
        named = {"kind": kind, "key": "0" * 16, "digest": "f" * 64, "took_seconds": 7.5}
        return Origin(**named, counts=counts)

    lineage = Lineage(
        artifacts=(
            origin("cohort", admissions=5),
            origin("clinical-adapter", trained_parameters=421_888, tokens=1_000),
            origin("task-adapter", member="fused", parameters=92_572),
            origin("task-adapter", member="unfused", parameters=46_000),
            origin("task-adapter", member="unfused", parameters=46_000),  # of another outcome
            origin("predictions", variants=2),
            origin("predictions", variant="tfidf", terms=1_068),
        )
    )
    assert read_costs(lineage) == {
        "clinical": Cost(parameters=421_888),
        "fused": Cost(parameters=92_572),
        "unfused": Cost(parameters=92_000),
        "tfidf": Cost(seconds=7.5),
    }


def test_a_table_of_thousands_of_labels_is_cut(story: Story, tmp_path: Path) -> None:
    many = MOST_ROWS + 500
    labels = [
        Label("diagnoses", "icd10cm", f"Z{index:04}", f"Finding {index}", index, 20)
        for index in range(many)
    ]
    first = next(row for row in story.findings.rows if row["metric"] == "auroc")
    rows = [
        first
        | {"outcome": "diagnoses", "code_system": "icd10cm", "code": label.code}
        | {"value": 0.5 + 0.4 * (index * 37 % many) / many, "variant": "fused"}
        for index, label in enumerate(labels)
    ]
    changed = replace(
        story,
        labels=labels,
        findings=findings_of([*story.findings.rows, *rows]),
    )
    (table,) = labels_by_outcome(changed.findings, labels, 10)
    assert table.cut
    assert {row.label.train for row in table.full} == set(range(500, many))
    values = [row.aurocs[0]["value"] for row in table.full if row.aurocs[0]]
    assert values == sorted(values, reverse=True)
    write_report(tmp_path, changed)
    page = (tmp_path / "report.html").read_text()
    assert "The 1,000 labels with the most training cases" in page
    assert "All 1,500 are in <code>metrics.parquet</code>" in page
    assert page.count('<tr><th scope="row">Z') <= MOST_ROWS + 20


def test_the_best_labels_are_not_those_of_a_case_or_two(story: Story) -> None:
    labels = [Label("diagnoses", "icd10cm", f"Z{i:02}", None, 50, 5 + i) for i in range(40)]
    first = next(row for row in story.findings.rows if row["metric"] == "auroc")
    named = first | {"outcome": "diagnoses", "code_system": "icd10cm", "variant": "fused"}
    rows = [
        named | {"code": label.code, "value": 1.0 if label.test < 10 else 0.7 + label.test / 1000}
        for label in labels
    ]
    findings = findings_of([*story.findings.rows, *rows])
    (table,) = labels_by_outcome(findings, labels, 10)
    assert [row.label.test for row in table.best] == list(range(44, 34, -1))
    (table,) = labels_by_outcome(findings, labels[:24], 10)  # too few are left: any label then
    assert table.fewest == 0
    assert table.best[0].label.test < 10


def test_the_scatter_tells_no_small_count(story: Story) -> None:
    labels = [replace(label, train=3) for label in story.labels if label.outcome == "diagnoses"]
    counts = replace(story, labels=labels).counts
    figure = frequency(story.findings, labels, counts)["scatters"][0]
    assert "fewer than 10" in figure.caption
    assert len(set(re.findall(r"M([\d.]+) [\d.]+a", figure.svg))) == 1, "all at one place"


def test_a_useless_model_is_said_to_be_useless() -> None:
    def curve(name: str, heights: list[float]) -> list[dict[str, object]]:
        named = {"curve": name, "variant": "fused", "outcome": "mortality"}
        bare = {"low": None, "high": None, "n": None}
        return [named | bare | {"x": i / 10, "y": y} for i, y in enumerate(heights, start=1)]

    scored = {"metric": "auroc_macro", "variant": "fused", "outcome": "mortality"}
    row = scored | {"code_system": None, "code": None, "group": "all", "seed": 1, "value": 0.5}
    row |= {"against": None, "low": None, "high": None}
    all_treated = curve("net_benefit_all", [0.3, 0.1, -0.1, -0.5])
    for heights, words in (
        ([0.3, 0.1, 0.0, -0.01], "at no threshold better"),
        ([0.3, 0.2, 0.1, -0.01], "at thresholds between 0.20 and 0.30"),
    ):
        curves = Curves([*curve("net_benefit", heights), *all_treated])
        (figure,) = decisions(curves, findings_of([row]))["benefits"]
        assert words in figure.caption


def test_the_order_of_a_sum_is_said_where_it_counts(plain_story: Story, tmp_path: Path) -> None:
    ordered = {"fused": {"ordered": ("clinical", "task")}}
    records = [
        record.model_copy(update=ordered.get(record.name, {}))
        for record in plain_story.findings.records
    ]
    told = Findings(plain_story.findings.rows, records)
    for name, story in (
        ("with", replace(plain_story, findings=told)),
        ("without", plain_story),
    ):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, story)
        write_card(tmp_path / name, story)
    for name in ("report.html", "report.md", "model-card.md"):
        words = "so that the order counts: base, clinical, task"
        assert words in (tmp_path / "with" / name).read_text()
        assert words not in (tmp_path / "without" / name).read_text()


@pytest.mark.parametrize("of", [OWN_OUTPUT, FITTED_OUTPUT])
def test_an_encoder_has_a_loss_of_masked_words_and_no_perplexity(of: str) -> None:
    named = {"variant": "clinical", "split": "validation", "outcome": of, "method": "some"}
    values = {"before": 3.0, "after": 2.5, "diff": -0.5}
    rows = [
        {"metric": f"loss_{end}", "value": value, "low": value - 0.1, "high": value + 0.1, **named}
        for end, value in values.items()
    ]
    findings = findings_of(to_table(rows, run="any", seed=None).to_pylist())
    assert findings.likelihood["after"]
    assert ("fitted" in findings.answered_by) == (of == FITTED_OUTPUT)
    cells = [cell for _, (cell,) in likelihoods(findings)]
    assert [(cell.column, cell.value) for cell in cells] == [
        (MASKED, "3.000"),
        (MASKED, "2.500"),
        (MASKED, "-0.500"),
    ]
    assert cells[2].span == "-0.600 to -0.400"
