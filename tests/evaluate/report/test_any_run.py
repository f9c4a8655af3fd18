"""Whatever a run measured, its pages are written, and what cannot be drawn fails by itself."""

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
from tasks.evaluate.config import EvaluateConfig, Lineage, Origin
from tasks.evaluate.perplexity import OUTCOME
from tasks.evaluate.report import charts
from tasks.evaluate.report.attempts import Missing
from tasks.evaluate.report.facts import Arm, Cohort, Cost, Label, Making, SplitSize
from tasks.evaluate.report.findings import Findings
from tasks.evaluate.report.page import Story, write_report
from tasks.evaluate.report.sections import decisions, probabilities, subgroups
from tasks.evaluate.rows import WITHHELD

PAGES = ("report.html", "report.md", "model-card.md", "tripod-ai.md")
FAILED = "could not be"
CURVES = ("roc", "precision_recall", "reliability", "reliability_recalibrated", "net_benefit")
COUNTS = ("labels", "labels_defined", "labels_calibrated", "labels_of_one_patient")
MEASURES = (
    *("auroc_micro", "auroc_weighted", "auroc_ovo", "average_precision_macro"),
    *("f1_macro", "f1_micro", "precision_at_8", "mean_average_precision", "brier_macro"),
    *("brier_macro_recalibrated", "ece_median", "calibration_slope_median", "share_of_best"),
    *("calibration_intercept_median", "logit_change_largest"),
)
GUARDED = ("test_characters", "test_characters_seen_unguarded", "test_characters_seen")
DIFFERENCES = ("auroc_macro_difference", "average_precision_macro_difference")

SHARE = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324]), st.floats(0, 1, allow_nan=False)
)
NO_NUMBER = st.sampled_from([None, math.nan])
VALUE = st.one_of(SHARE, SHARE, SHARE, NO_NUMBER)
ODD = st.one_of(st.floats(), st.sampled_from([0.0, 1e300, -1e300, math.inf]))
END = st.one_of(VALUE, VALUE, st.sampled_from([math.inf, -math.inf]))
COUNT = st.one_of(st.integers(0, 30), st.integers(0, 5000))


@st.composite
def rows_of(draw: st.DrawFn, metric: str, value: st.SearchStrategy[Any], **named: Any) -> Any:
    """A metrics row: with an interval, without, or without a value."""
    found = draw(value)
    ends = draw(st.one_of(st.none(), st.tuples(END, END)))
    low, high = ends if ends and found is not None else (None, None)
    method = f"{WITHHELD}: fewer than 10 patients with the label" if low is None else "DeLong"
    row = {"run": "any", "seed": 1, "split": "test", "code_system": None, "code": None}
    counts = {"n": draw(COUNT), "n_patients": draw(COUNT), "positives": draw(COUNT)}
    row |= {"group": "all", "metric": metric, "method": method, "value": found}
    return row | counts | {"low": low, "high": high} | named


@st.composite
def outcomes_of(draw: st.DrawFn, outcome: str, variants: list[str]) -> tuple[Any, Any, Any]:
    """An outcome's metrics rows, curve points and labels."""
    systems = draw(st.sampled_from([["icd9cm", "icd10cm"], [outcome]]))
    labels = [
        Label(outcome, system, f"C{index}", draw(st.sampled_from([None, "A <b> | title"])),
              draw(COUNT), draw(COUNT), draw(COUNT), one_of=len(systems) == 1)
        for system in systems
        for index in range(draw(st.integers(1, 6)))
    ]  # fmt: skip
    rows, points = [], []
    for variant in variants:
        named = {"outcome": outcome, "variant": variant}
        for system in [*systems, None]:
            here = named | {"code_system": system}
            rows.append(draw(rows_of("auroc_macro", VALUE, **here)))
            rows += [draw(rows_of(metric, VALUE, **here)) for metric in draw(_some(MEASURES))]
            rows += [
                draw(rows_of(metric, COUNT.map(float), **here)) for metric in draw(_some(COUNTS))
            ]
            for band in draw(_some(("cases=0", "cases=1-24", "cases=1000+"))):
                for metric in ("auroc_macro", "labels_defined", "brier_macro", "ece_median"):
                    rows.append(draw(rows_of(metric, VALUE, **here, group=band)))
        for group in draw(_some(("sex=F", "sex=M", "age=18-44", "race=other", "race=<b>"))):
            rows.append(draw(rows_of("auroc_macro", VALUE, **named, group=group)))
        for column in draw(_some(("sex", "race"))):
            rows.append(draw(rows_of("auroc_macro_gap", VALUE, **named, group=column)))
            rows.append(draw(rows_of("auroc_macro_gap_p", VALUE, **named, group=column)))
        for label in draw(_some(labels)):
            here = named | {"code_system": label.code_system, "code": label.code}
            rows.append(draw(rows_of("auroc", VALUE, **here)))
        for curve in draw(_some(CURVES)):
            for _ in range(draw(st.sampled_from([1, 2, 5]))):
                x, y, low, high = (draw(st.one_of(SHARE, SHARE, ODD)) for _ in range(4))
                ends = (
                    {"low": low, "high": high}
                    if draw(st.booleans())
                    else {"low": None, "high": None}
                )
                point = {"variant": variant, "outcome": outcome, "curve": curve, "x": x, "y": y}
                points.append(point | ends | {"n": draw(st.one_of(st.none(), COUNT))})
    for other in variants[1:]:
        pair = {"outcome": outcome, "variant": f"{variants[0]}-{other}"}
        for metric in draw(_some(DIFFERENCES)):
            rows.append(draw(rows_of(metric, VALUE, **pair)))
            rows.append(draw(rows_of(f"{metric}_p", VALUE, **pair)))
    return rows, points, labels


def _some(names: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(list(names)), unique=True)


@st.composite
def arms(draw: st.DrawFn) -> Arm:
    """A training arm: of one step, of none that was measured, of losses that are no numbers."""

    def curve() -> tuple[tuple[float, float], ...]:
        return tuple(draw(st.lists(st.tuples(COUNT, st.one_of(SHARE, ODD)), max_size=4)))

    name = draw(st.sampled_from(["base", "clinical", "fused", "unfused"]))
    seconds = draw(st.sampled_from([0.0, 1e-9, 12.5, 1e7]))
    return Arm("task adapters", name, *draw(st.tuples(COUNT, COUNT, COUNT)), seconds, 900.0,
               curve(), curve())  # fmt: skip


@st.composite
def stories(draw: st.DrawFn, folder: Path) -> Story:
    variants = draw(st.sampled_from([["fused"], ["tfidf"], ["fused", "unfused", "tfidf", "p_best"],
                                     ["fused", "fused-without-clinical", "own-arm"]]))  # fmt: skip
    names = draw(
        st.lists(st.sampled_from(["diagnoses", "mortality", "own"]), min_size=1, unique=True)
    )
    rows, points, labels = [], [], []
    for name in names:
        for found, more in zip(
            (rows, points, labels), draw(outcomes_of(name, variants)), strict=True
        ):
            found += more
    for metric in draw(_some(("before", "after", "ratio"))):
        named = {"outcome": OUTCOME, "variant": "clinical", "split": "validation"}
        rows.append(draw(rows_of(f"perplexity_{metric}", ODD, **named)))
    metrics = pa.Table.from_pylist(rows, schemas.METRICS)
    tables.write(folder / "metrics.parquet", schemas.METRICS, metrics)
    drawn = pa.Table.from_pylist(points, schemas.CURVES)
    tables.write(folder / "curves.parquet", schemas.CURVES, drawn)
    splits = tuple(
        SplitSize(name, draw(COUNT), draw(COUNT)) for name in ("train", "validation", "test")
    )
    reasons = tuple((f"reason {index}", draw(COUNT)) for index in range(draw(st.integers(0, 3))))
    source = sum(split.admissions for split in splits) + sum(count for _, count in reasons)
    table = draw(st.sampled_from(["admissions", "notes"]))
    check = {"release": "mimic-iv", "table": table, "column": None, "check": "is odd"}
    origin = Origin(
        kind=draw(st.sampled_from(["corpus", "encoded", "task-adapter", "base"])),
        key="k",
        digest="d",
        took_seconds=draw(st.sampled_from([None, 0.0, 3.2])),
        counts={"patients": draw(COUNT), "documents": 3, "tokens": 9}
        | {"notes_cut": 2, "admissions": draw(COUNT)},
    )
    seconds = st.sampled_from([None, 0.0, 5.0])
    smallest = draw(st.sampled_from([1, 2, 10, 500]))
    guarded = dict.fromkeys(GUARDED, 0) | {"dropped": 3}
    return Story(
        run="any",
        findings=Findings.read(folder / "metrics.parquet"),
        cohort=Cohort(source, reasons, splits),
        labels=labels,
        arms=draw(st.lists(arms(), max_size=3)),
        curves=folder / "curves.parquet",
        difficulty=draw(st.sampled_from([{}, {"shares.unmentioned": math.nan}])),
        quality=[check | {"count": draw(COUNT), "rows": source}] * draw(st.integers(0, 2)),
        contamination=draw(st.sampled_from([{}, guarded])),
        leaks=draw(st.sampled_from([(), ("known too early",)])),
        settings=draw(st.sampled_from([{}, {"name": "any", "finetune": {"seed": None}}])),
        lineage=Lineage(artifacts=draw(st.sampled_from([(), (origin,)]))),
        config=EvaluateConfig(smallest_cell=smallest, published=True),
        made=Making(),
        costs={name: Cost(seconds=draw(seconds)) for name in variants},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_page_of_any_run_is_whole(place: Path, data: st.DataObject) -> None:
    missing = write_report(place, data.draw(stories(place)))
    assert missing == []
    page = (place / "report.html").read_text()
    for svg in re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL):
        drawn = " ".join(re.findall(r' (?:d|x|y|y1|points)="([^"]*)"', svg))
        assert not re.search(r"nan|inf|e[+-]\d", drawn)
        assert not re.search(r">-?(nan|inf)<", svg)
        assert all(-20 <= float(n) <= 2000 for n in re.findall(r"-?\d+\.?\d*", drawn))
    for name in PAGES:
        assert FAILED not in (place / name).read_text()
    json.loads((place / "headline.json").read_text())


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
    assert write_report(tmp_path, replace(story, findings=Findings(rows))) == []
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
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "from 2.500 to nan" in text
        assert text.lower().count("not drawn: none of its values is a finite number") == 2


def test_nothing_of_an_ordinary_run_is_missing(folder: Path) -> None:
    for name in PAGES:
        text = (folder / name).read_text()
        assert FAILED not in text
        assert "Not drawn" not in text
        assert "not drawn" not in text
    page = (folder / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert len(sections) == 13
    assert re.findall(r'<li><a href="#(\w+)">', page) == sections
    assert page.count('<svg class="chart"') >= 20


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


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("math domain error")


@pytest.mark.parametrize(
    ("module", "name", "lost"),
    [
        (charts.Axis, "ticks", None),
        (probabilities, "_reliability", None),
        (decisions, "measured", "Decisions"),
        (subgroups, "_gaps", "Subgroups"),
    ],
)
def test_what_fails_is_left_out_says_why_and_takes_nothing_along(
    story: Story, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    module: Any, name: str, lost: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, name, broken)
    missing = write_report(tmp_path, story)
    assert missing
    assert all("ValueError at tests/evaluate/report/test_any_run.py" in one.why for one in missing)
    assert all("math domain error" in one.why for one in missing)
    page, whole = ((place / "report.html").read_text() for place in (tmp_path, folder))
    for part in re.findall(r'<section id="\w+">.*?</section>', whole, re.DOTALL):
        numbers = re.findall(r"<td[^>]*>.*?</td>", part)
        title = re.search(r"<h2>(.*?)</h2>", part)
        if title and title[1].split()[0] == (lost or "").split(" ")[0]:
            assert f"the section &#39;{lost}&#39; could not be made: ValueError at" in page
        else:
            assert all(cell in page for cell in numbers)
    if lost is None:
        assert "Not drawn: ValueError at" in page
        assert "not drawn: ValueError at" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "headline.json").read_text() == (folder / "headline.json").read_text()


def test_a_part_of_the_card_or_an_item_of_the_checklist_fails_alone(
    story: Story, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.evaluate.report.account.Account.calibration", broken)
    missing = write_report(tmp_path, story)
    assert {one.what for one in missing} >= {"the section 'Evaluation'", "item 24"}
    card = (tmp_path / "model-card.md").read_text()
    assert "the section 'Evaluation' could not be made: ValueError" in card
    assert "## Limitations" in card
    whole, changed = ((place / "tripod-ai.md").read_text() for place in (folder, tmp_path))
    lines = [line for line in whole.splitlines() if line.startswith("| ") and "(D" in line]
    assert sum(line not in changed for line in lines) <= 1


def test_a_run_in_which_nothing_was_scored_still_has_its_pages(
    story: Story, tmp_path: Path
) -> None:
    empty = pa.Table.from_pylist([], schemas.CURVES)
    tables.write(tmp_path / "curves.parquet", schemas.CURVES, empty)
    given = {"findings": Findings([]), "labels": (), "curves": tmp_path / "curves.parquet"}
    missing: list[Missing] = write_report(tmp_path, replace(story, **given))
    assert missing, "no model is the report's subject"
    assert json.loads((tmp_path / "headline.json").read_text()) == []
    page = (tmp_path / "report.html").read_text()
    assert "1,638,400" in page, "what training cost"
    assert "0123456789abcdef" in page, "where it came from"
