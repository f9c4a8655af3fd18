"""The report: complete, self-contained, and discreet."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.report.facts import read_labels
from tasks.report.findings import Findings
from tasks.report.page import write_report
from tasks.report.story import Story
from tests.evaluate.made_up import MadeUp

BESIDE = ("model-card.md", "tripod-ai.md", "report.md")  # files that the page links to


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    asked = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)([^\s"')>]+)""", page)
    assert sorted(asked) == sorted(BESIDE), "links to files beside the page, and nothing else"
    assert "<script" not in page
    assert "@import" not in page


def test_a_leak_stands_at_the_top_and_the_source_is_described(folder: Path, page: str) -> None:
    text = (folder / "report.md").read_text()
    for written in (page.replace("&#39;", "'"), text):
        leak = written.index("the view 'full' is known at discharge")
        assert leak < written.index("Cohort flow" if written is not text else "## Data")
        assert "4,321" in written
        assert "Of the 7,654,321 characters" in written
        assert "54,321 stand in notes" in written


def test_every_drawing_has_a_text_alternative(page: str) -> None:
    drawings = re.findall(r"<svg[^>]*>", page)
    charts = [svg for svg in drawings if 'class="chart"' in svg]
    assert len(charts) >= 20
    assert all(
        'role="img"' in svg and len(re.search('aria-label="([^"]*)"', svg)[1]) > 30
        for svg in charts
    )
    assert all('aria-hidden="true"' in svg for svg in drawings if svg not in charts)


def test_every_table_that_scrolls_has_a_name_and_can_be_reached_by_key(page: str) -> None:
    regions = re.findall(r'<div class="wide"[^>]*>', page)
    assert len(regions) > 5
    assert all(
        'tabindex="0"' in region and re.search('aria-label="[^"]+"', region) for region in regions
    )


@pytest.mark.parametrize(
    "words",
    [
        "made-up",
        "no discharge note: withheld",  # 5 of 7 left out: neither is printed
        "empty admission note",
        "Fused",
        "Task adapter only",
        "TF-IDF",
        "Best reachable",
        "ICD-9-CM",
        "all codes",
        "In-hospital mortality",
        "1,638,400",  # tokens that an arm saw
        "shares.unmentioned",
        "epochs: 3",
        "0123456789abcdef",
        "not comparable",
    ],
)
def test_both_forms_tell_it(folder: Path, page: str, words: str) -> None:
    assert words in page
    assert words in (folder / "report.md").read_text()


def test_titles_are_escaped(page: str) -> None:
    assert "Condition &lt;1&gt; &amp; others" in page
    assert "<1>" not in page


def test_numbers_are_those_of_the_metrics(folder: Path, page: str, story: Story) -> None:
    row = story.findings.get("auroc_macro", "fused", "diagnoses")
    assert row
    cell = f"<b>{row['value']:.3f}</b><small>{row['low']:.3f} to {row['high']:.3f}</small>"
    assert cell in page
    headline = json.loads((folder / "headline.json").read_text())
    line = next(
        row
        for row in headline
        if (row["outcome"], row["label space"], row["variant"])
        == ("diagnoses", "all codes", "fused")
    )
    assert line["macro AUROC"] == round(row["value"], 3)


def test_no_name_says_what_a_variant_is(story: Story, folder: Path, tmp_path: Path) -> None:
    """Variants and members of other names, but with the same records, have the same page."""
    names = {variant.name: f"v{index}" for index, variant in enumerate(story.findings.models)}
    names["fused-without-clinical"] = "less"
    records = [
        variant.model_copy(
            update={"name": names.get(variant.name, variant.name)}
            | ({"member": names[variant.member]} if variant.member else {})
        )
        for variant in story.findings.records
    ]
    rows, points = (
        [
            row
            | {key: names.get(row[key], row[key]) for key in ("variant", "against") if key in row}
            for row in table
        ]
        for table in (story.findings.rows, tables.read(story.curves, schemas.CURVES).to_pylist())
    )
    curves = pa.Table.from_pylist(points, schemas.CURVES)
    tables.write(tmp_path / "curves.parquet", schemas.CURVES, curves)
    renamed = replace(
        story,
        findings=Findings(rows, records),
        curves=tmp_path / "curves.parquet",
        arms=[replace(arm, name=names.get(arm.name, arm.name)) for arm in story.arms],
        costs={names.get(name, name): cost for name, cost in story.costs.items()},
    )
    assert write_report(tmp_path, renamed) == []
    for name in ("report.html", "report.md", "tripod-ai.md"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()


def test_no_identifier_and_no_small_count(run: MadeUp, folder: Path, page: str) -> None:
    for text in (page, (folder / "report.md").read_text()):
        assert not any(str(hadm_id) in text for hadm_id in run.test_ids)
    rare = [label for label in read_labels(run.outcomes) if 0 < label.test < 10]
    assert rare, "the made-up run must hold a rare label"
    assert "&lt;10" in page
