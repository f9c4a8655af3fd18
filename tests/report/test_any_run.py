"""Whatever a run measured, its pages are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import schemas, tables
from tasks.report.missing import Missing
from tasks.report.page import write_report
from tasks.report.story import Story
from tests.report.any_story import stories
from tests.report.made_up_rows import findings_of

PAGES = ("report.html", "report.md", "model-card.md", "tripod-ai.md")
FAILED = "could not be"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_page_of_any_run_is_whole(folder: Path, data: st.DataObject) -> None:
    missing = write_report(folder, data.draw(stories(folder)))
    assert missing == []
    page = (folder / "report.html").read_text()
    for svg in re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL):
        drawn = " ".join(re.findall(r' (?:d|x|y|y1|points)="([^"]*)"', svg))
        assert not re.search(r"nan|inf|e[+-]\d", drawn)
        assert not re.search(r">-?(nan|inf)<", svg)
        assert all(-20 <= float(n) <= 2000 for n in re.findall(r"-?\d+\.?\d*", drawn))
    for name in PAGES:
        assert FAILED not in (folder / name).read_text()
    json.loads((folder / "headline.json").read_text())


def every_value(value: float | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Rows with this value and no interval."""
    return lambda row: row | {"value": value, "low": None, "high": None}


def every_point(x: float, y: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda point: point | {"x": x, "y": y, "low": y, "high": y}


ROWS = {
    "all values 0": every_value(0.0),
    "all values 1": every_value(1.0),
    "nothing defined": every_value(None),
    "no number": every_value(math.nan),
    "intervals without an end": lambda row: row | {"high": None},
    "infinite": lambda row: row | ({"low": -math.inf, "high": math.inf} if row["low"] else {}),
}
POINTS = {
    "all rates 0": every_point(0.0, 0.0),
    "saturated": every_point(1.0, 1.0),
    "observed 0, predicted tiny": every_point(5e-324, 0.0),
    "no number": every_point(math.nan, math.nan),
    "infinite": every_point(0.5, math.inf),
}


@pytest.mark.parametrize("case", ROWS)
def test_odd_values_do_not_stop_a_page(story: Story, tmp_path: Path, case: str) -> None:
    rows = [ROWS[case](row) for row in story.findings.rows]
    assert write_report(tmp_path, replace(story, findings=findings_of(rows))) == []
    assert FAILED not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("one_point", [False, True])
@pytest.mark.parametrize("case", POINTS)
def test_odd_curves_do_not_stop_a_page(
    story: Story, tmp_path: Path, case: str, one_point: bool
) -> None:
    points = [POINTS[case](row) for row in tables.read(story.curves, schemas.CURVES).to_pylist()]
    if one_point:
        named = {(row["variant"], row["outcome"], row["curve"]): row for row in points}
        points = list(named.values())
    changed = pa.Table.from_pylist(points, schemas.CURVES)
    tables.write(tmp_path / "curves.parquet", schemas.CURVES, changed)
    assert write_report(tmp_path, replace(story, curves=tmp_path / "curves.parquet")) == []
    page = (tmp_path / "report.html").read_text()
    assert FAILED not in page
    none_finite = case in ("no number", "infinite")
    assert ("Not drawn: none of its values is a finite number" in page) == none_finite


@pytest.mark.parametrize("seconds", [0.0, 1e-300, 1e9])
def test_a_cost_of_any_size_is_shown(story: Story, tmp_path: Path, seconds: float) -> None:
    arms = [replace(arm, seconds=seconds) for arm in story.arms]
    costs = {name: replace(cost, seconds=seconds) for name, cost in story.costs.items()}
    assert write_report(tmp_path, replace(story, arms=arms, costs=costs)) == []
    page = (tmp_path / "report.html").read_text()
    assert "Cost of each model" in page
    assert ("macro AUROC against training time" in page) == (seconds > 0)


def test_a_training_that_diverged_is_said_to_have(story: Story, tmp_path: Path) -> None:
    diverged = ((10.0, 2.5), (20.0, math.nan))
    arms = [replace(arm, loss=diverged, validation=((20.0, math.nan),)) for arm in story.arms]
    assert write_report(tmp_path, replace(story, arms=arms)) == []
    for name in ("report.html", "report.md"):  # of a base, a clinical adapter, members
        text = (tmp_path / name).read_text()
        assert "from 2.500 to nan" in text
        assert text.lower().count("not drawn: none of its values is a finite number") == 3, (
            "a base, a clinical adapter, members"
        )


def test_a_rate_of_0_on_a_logarithmic_axis_is_drawn(story: Story, tmp_path: Path) -> None:
    def at_zero(point: dict[str, Any]) -> dict[str, Any]:
        rare = point["curve"].startswith("reliability") and point["outcome"] == "diagnoses"
        return point | ({"y": 0.0, "low": 0.0} if rare and point["x"] < 0.01 else {})

    points = tables.read(story.curves, schemas.CURVES).to_pylist()
    changed = pa.Table.from_pylist([at_zero(point) for point in points], schemas.CURVES)
    tables.write(tmp_path / "curves.parquet", schemas.CURVES, changed)
    assert write_report(tmp_path, replace(story, curves=tmp_path / "curves.parquet")) == []
    page = (tmp_path / "report.html").read_text()
    drawing = page[page.index("Reliability, Diagnoses, as predicted") :]
    drawing = drawing[: drawing.index("</figure>")]
    assert "Both axes are logarithmic, with 0 at their low ends." in drawing
    assert drawing.count('class="below"') == drawing.count('class="left"') >= 4
    assert ">0</text>" in drawing


def test_where_nothing_was_scored_there_still_are_pages(story: Story, tmp_path: Path) -> None:
    empty = pa.Table.from_pylist([], schemas.CURVES)
    tables.write(tmp_path / "curves.parquet", schemas.CURVES, empty)
    given = {
        "findings": findings_of([]),
        "labels": (),
        "curves": tmp_path / "curves.parquet",
    }
    missing: list[Missing] = write_report(tmp_path, replace(story, **given))
    assert missing, "no model is the report's subject"
    assert json.loads((tmp_path / "headline.json").read_text()) == []
    page = (tmp_path / "report.html").read_text()
    assert "1,638,400" in page, "what training cost"
    assert "0123456789abcdef" in page, "where it came from"
