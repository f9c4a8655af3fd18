"""The report: complete, self-contained, readable with and without a screen, and discreet."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.evaluate.config import EvaluateConfig, Lineage, Origin
from tasks.evaluate.measuring import Work, write_metrics
from tasks.evaluate.report.facts import read_arms, read_cohort, read_difficulty, read_labels
from tasks.evaluate.report.findings import Findings
from tasks.evaluate.report.page import Story, write_report
from tests.evaluate.made_up import MadeUp, make_run

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=400, labels=60)


@pytest.fixture(scope="module")
def folder(run: MadeUp) -> Path:
    work = Work(run.cohort, run.outcomes, run.predictions, run.perplexity, run.truth)
    write_metrics(run.folder, work, run="made-up", seed=1)
    origin = Origin(kind="notes", key="0123456789abcdef", digest="f" * 64, how="made")
    story = Story(
        run="made-up",
        findings=Findings.read(run.folder / "metrics.parquet"),
        cohort=read_cohort(run.cohort),
        labels=read_labels(run.outcomes),
        arms=read_arms(run.histories),
        curves=run.folder / "curves.parquet",
        difficulty=read_difficulty(run.folder / "synth.json"),
        quality=[
            {"release": "mimic-iv", "table": "radiology", "column": "hadm_id"}
            | {"check": "is empty", "count": 4321, "rows": 9876}
        ],
        contamination={
            "test_characters": 7_654_321,
            "test_characters_seen_unguarded": 54_321,
            "test_characters_seen": 0,
            "dropped": 33,
        },
        leaks=("the view 'full' is known at discharge, outcome 'x' is predicted at admission",),
        settings={"name": "made-up", "finetune": {"epochs": 3}},
        lineage=Lineage(artifacts=(origin,)),
        config=EvaluateConfig(published=True),
    )
    write_report(run.folder, story)
    return run.folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)[^\s"')>]+""", page)
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
    charts = [one for one in drawings if 'class="chart"' in one]
    assert len(charts) >= 9
    assert all(
        'role="img"' in one and len(re.search('aria-label="([^"]*)"', one)[1]) > 30
        for one in charts
    )
    assert all('aria-hidden="true"' in one for one in drawings if one not in charts)


def test_every_table_that_scrolls_has_a_name_and_can_be_reached_by_key(page: str) -> None:
    regions = re.findall(r'<div class="wide"[^>]*>', page)
    assert len(regions) > 5
    assert all('tabindex="0"' in one and re.search('aria-label="[^"]+"', one) for one in regions)


@pytest.mark.parametrize(
    "words",
    [
        "made-up",
        "5 no discharge note",
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


def test_numbers_are_those_of_the_metrics(folder: Path, page: str) -> None:
    row = Findings.read(folder / "metrics.parquet").get("auroc_macro", "fused", "diagnoses")
    assert row
    cell = f"<b>{row['value']:.3f}</b><small>{row['low']:.3f} to {row['high']:.3f}</small>"
    assert cell in page
    headline = json.loads((folder / "headline.json").read_text())
    line = next(
        one
        for one in headline
        if (one["outcome"], one["label space"], one["variant"])
        == ("diagnoses", "all codes", "fused")
    )
    assert line["macro AUROC"] == round(row["value"], 3)


def test_no_identifier_and_no_small_count(run: MadeUp, folder: Path, page: str) -> None:
    for text in (page, (folder / "report.md").read_text()):
        assert not any(str(one) in text for one in run.test_ids)
    rare = [label for label in read_labels(run.outcomes) if 0 < label.test < 10]
    assert rare, "the made-up run must hold a rare label"
    assert "&lt;10" in page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_nothing_overflows_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    # an iframe, because Chromium opens no window narrower than 500 px
    inner, outer = tmp_path / "inner.html", tmp_path / "outer.html"
    probe = """<script>addEventListener("load", () => {
      document.querySelectorAll("details").forEach(one => one.open = true);
      const root = document.documentElement;
      parent.postMessage([root.clientWidth, root.scrollWidth], "*"); });</script>"""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    inner.write_text(page.replace("</body>", probe + "</body>"))
    outer.write_text(
        "<script>addEventListener('message', e => document.title = e.data.join(' '))</script>"
        f"<iframe src='inner.html' style='width:{width}px;height:900px;border:0'></iframe>"
    )
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,1000",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    title = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert title, done.stderr[-500:]
    visible, needed = map(int, title.groups())
    assert width - 20 <= visible <= width  # less a scroll bar
    assert needed <= visible
