"""One vocabulary on every page: undefined, withheld and why, corrected, not measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tasks.measures.intervals import holm
from tasks.report.config import NOTE
from tasks.report.findings import Pair, Space
from tasks.report.page import write_report
from tasks.report.printing import p_value
from tasks.report.story import Story
from tasks.report.summaries import headline, summaries
from tests.report.made_up_rows import findings_of
from tests.report.test_any_run import PAGES

FEW = "fewer than 10 patients with the label"
NO_CASE = "undefined: no case or no control"


def changed(story: Story, wanted: dict[str, Any], **values: Any) -> Story:
    """The story with other values in the rows that have what is wanted."""
    rows = [row | values if wanted.items() <= row.items() else row for row in story.findings.rows]
    assert rows != story.findings.rows
    return replace(story, findings=findings_of(rows))


def withheld(story: Story, reason: str, value: float | None, **wanted: Any) -> Story:
    method = f"interval withheld: {reason}"
    wanted = {"metric": "auroc_macro", "outcome": "mortality", **wanted}
    return changed(story, wanted, value=value, low=None, high=None, method=method)


def test_no_headline_stands_without_its_interval_or_why(story: Story, tmp_path: Path) -> None:
    few = withheld(story, FEW, 0.286, group="all")
    assert write_report(tmp_path, few) == []
    rows = json.loads((tmp_path / "headline.json").read_text())
    assert rows == headline(few.findings)
    mortality = [row for row in rows if row["outcome"] == "mortality"]
    assert {row["95% interval"] for row in mortality} == {"withheld"}
    assert {row[NOTE] for row in mortality} == {FEW}
    others = [row for row in rows if row["outcome"] != "mortality"]
    assert others
    assert all(re.fullmatch(r"0\.\d{3}\u20130\.\d{3}", row["95% interval"]) for row in others)
    assert not any(row[NOTE] for row in others)
    summary = next(
        summary for summary in summaries(few.findings) if summary.title == "In-hospital mortality"
    )
    assert (summary.value, summary.interval) == ("0.286", "interval withheld")
    assert f"Its interval is withheld: {FEW}" in summary.sentences
    for name in PAGES:
        text = (tmp_path / name).read_text()
        assert re.search(r"0\.286.{1,12}interval withheld|value: 0.286", text)


@pytest.mark.parametrize("group", ["all", "sex=F"])
def test_what_is_undefined_is_called_so_on_every_page(
    story: Story, tmp_path: Path, group: str
) -> None:
    none = withheld(story, NO_CASE, None, group=group, variant="fused")
    assert write_report(tmp_path, none) == []
    pages = {name: unescape((tmp_path / name).read_text()) for name in PAGES}
    if group == "all":
        known = none.counts.text("admissions", "mortality")
        words = {
            "report.html": '<td data-name="Fused"><b>undefined</b><small></small>',
            "report.md": f"| In-hospital mortality, one label | {known} | 1 of 1 | undefined |",
            "model-card.md": "| In-hospital mortality | 1 of 1 | undefined |",
            "tripod-ai.md": "In-hospital mortality: macro AUROC undefined.",
        }
        assert f"In-hospital mortality (one label), Fused: {NO_CASE}" in pages["report.html"]
        line = next(row for row in headline(none.findings) if row["macro AUROC"] is None)
        assert (line["95% interval"], line[NOTE]) == ("undefined", NO_CASE)
    else:
        words = {
            "report.html": r"<td>F</td>.*?<td class=.n.>undefined<small></small>",
            "report.md": r"\| In-hospital mortality \| Sex \| F \|[^|]*\|[^|]*\| undefined \|",
            "model-card.md": r"\| In-hospital mortality \| sex \| F \|[^|]*\| undefined \|",
        }
        words = {name: re.search(line, pages[name])[0] for name, line in words.items()}
    for name, line in words.items():
        assert line in pages[name]
        assert "undefined (" not in pages[name], "what has no value has no interval to withhold"


def test_the_p_values_of_the_main_table_are_corrected_together(story: Story, page: str) -> None:
    findings = story.findings
    p_values: dict[tuple[Pair, Space], float] = {}
    for pair in findings.pairs:
        for space in findings.all_spaces:
            row = findings.within("auroc_macro_difference_p", pair, space)
            if row:
                p_values[pair, space] = row["value"]
    assert len(p_values) == 8  # two pairs; two code systems, both together, and mortality
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    assert findings.holm == adjusted
    for key, value in p_values.items():
        words = f"p {p_value(value)}, Holm {p_value(adjusted[key])}"
        assert f"<small>{words}</small>" in unescape(page)
    assert "Holm's is corrected for the 8 comparisons of this table" in unescape(page)
    assert "uncorrected" not in page


def test_at_a_glance_nothing_is_found_that_correction_does_not_find(story: Story) -> None:
    pair = {"outcome": "mortality", "variant": "fused", "against": "tfidf"}
    apart = changed(
        story, pair | {"metric": "auroc_macro_difference"}, value=0.1, low=0.01, high=0.2
    )
    name = "TF-IDF with logistic regression"
    not_apart = f"not told apart from {name} after correction for 8 comparisons (+0.100, +0.010 to"
    for p, words in ((0.04, not_apart), (1e-6, f"is above {name} by 0.100")):
        judged = changed(apart, pair | {"metric": "auroc_macro_difference_p"}, value=p)
        summary = next(
            made for made in summaries(judged.findings) if made.title == "In-hospital mortality"
        )
        assert words in summary.sentences


def test_a_measure_without_an_interval_is_not_said_to_withhold_one(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert "0.0700 \u2192 0.0600" in text
    f1 = next(
        line
        for line in text.splitlines()
        if line.startswith("| Diagnoses, all codes | Fused | 0.310")
    )
    assert "withheld" not in f1
