"""The leaderboard's page: complete, self-contained, readable on a telephone, and discreet."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.evaluate.leaderboard import write_standings
from tasks.report.config import NOTE, Lineage, Origin, Published, PublishedRow
from tasks.report.facts import Making, read_cohort
from tasks.report.leaderboard_page import MISSING, Leaderboard, compared, costs, write_page
from tasks.standings import Spent, Standings
from tests.evaluate.leaderboards import entrant
from tests.evaluate.made_up import MadeUp, make_run
from tests.report.chromium import CHROMIUM, FLAGS

MADE = Making("2026-11-26 14:05 UTC", "0.9.1", "0123456789ab")
LONG = "a-run-whose-name-is-long-and-which-differs-in-much"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=400, labels=30)


@pytest.fixture(scope="module")
def folder(made: MadeUp) -> Path:
    return _written(made, made.folder / "board", (1, 2, 3))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)[^\s"')>]+""", page)
    assert "<script" not in page
    assert "@import" not in page


def test_every_drawing_has_a_text_alternative(page: str) -> None:
    charts = [svg for svg in re.findall(r"<svg[^>]*>", page) if 'class="chart"' in svg]
    assert len(charts) == 4  # a forest and a cost chart an outcome
    for svg in charts:
        assert 'role="img"' in svg
        assert "one/fused 0." in re.search('aria-label="([^"]*)"', svg)[1]


def test_both_pages_tell_the_same(folder: Path, page: str) -> None:
    text = (folder / "report.md").read_text()
    for written in (page, text):
        for words in (
            "one/fused",
            f"{LONG}/unfused",
            f"the same predictions: {LONG}/tfidf",
            "Holm's correction is over 4 comparisons",
            "chosen after looking",
            "the reference",
            "the best",
            "finetune.adapter.rank",
            "0123456789abcdef",
        ):
            assert words in written.replace("&#39;", "'"), words
        mark = (
            "<small>chosen after looking</small>" if written is page else " (chosen after looking)"
        )
        assert f"inus the best{mark}" in written
        assert "this checkpoint only" not in written
        leak = re.search(rf"figures of {LONG} leak", written)
        assert leak
        assert leak.start() < written.index("Micro AUROC" if written is page else "## Results")


def test_what_each_model_took_stands_in_one_table(
    folder: Path, made: MadeUp, tmp_path: Path
) -> None:
    standings = Standings.read(folder)
    took = {
        "one/fused": Spent(seconds=90, parameters=30, adapter_parameters=20, peak_mib=512)
        .model_copy(update={"flops": 4.2e12, "flops_to_best": 3e12, "cost": 1.5}),
        "one/unfused": Spent(seconds=40, parameters=25, adapter_parameters=10, flops=2e12)
        .model_copy(update={"flops_to_best": 1e12}),
        "one/tfidf": Spent(seconds=3),
    }  # fmt: skip
    assert {
        name: score for name, _, score in costs(standings.model_copy(update={"spent": took}))
    } == {
        "one/fused": 1.0,
        "one/unfused": math.inf,
        "one/tfidf": None,
    }
    out = _written(made, tmp_path / "board", (1, 2), took)
    text, page = ((out / name).read_text() for name in ("report.md", "report.html"))
    assert "| one/fused | 90 | 30 | 512 | 4.2e+12 | 1.50 | 1.0 |" in text
    assert "| one/tfidf | 3.0 |" + 5 * f" {MISSING} |" in text
    assert '<td class="n">4.2e+12<td class="n">1.50<td class="n">1.0</tr>' in page
    for written in (text, page):
        assert "Taylor" in written
        assert "the least of both" in written


def test_one_seed_is_called_this_checkpoint_only(made: MadeUp) -> None:
    folder = _written(made, made.folder / "single", (7,))
    for name in ("report.html", "report.md"):
        assert (folder / name).read_text().count("this checkpoint only") > 4


def test_the_numbers_on_the_page_are_those_of_the_table(folder: Path, page: str) -> None:
    table = pq.read_table(folder / "metrics.parquet")
    assert table.schema.equals(schemas.METRICS)
    [row] = [
        row
        for row in table.to_pylist()
        if (row["run"], row["variant"], row["outcome"], row["metric"])
        == ("one", "fused", "diagnoses", "auroc_macro")
        and row["seed"] is None
        and row["code_system"] is None
    ]
    assert f"<b>{row['value']:.3f}</b><small>{row['low']:.3f} to {row['high']:.3f}</small>" in page
    headline = json.loads((folder / "headline.json").read_text())
    [line] = [
        row for row in headline if (row["outcome"], row["model"]) == ("diagnoses", "one/fused")
    ]
    assert line["macro AUROC"] == round(row["value"], 3)
    assert len({tuple(row) for row in headline}) == 1  # the terminal's table has one set of columns


def test_whose_patients_when_and_by_what_stands_at_the_top(page: str) -> None:
    (line,) = re.findall(r'<p class="made">(.*?)</p>', page)
    words = "Synthetic patients 2026-11-26 14:05 UTC clinfuse 0.9.1 commit 0123456789ab"
    assert re.sub("<[^>]*>", " ", line).split() == words.split()
    assert page.index(line) < page.index("<nav")


def test_nothing_is_missing(folder: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text()
        assert "could not be made" not in text
        assert "ot drawn" not in text


def test_what_fails_is_left_out_and_takes_nothing_along(
    made: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tasks.report.leaderboard_figures._forest", broken)
    monkeypatch.setattr("tasks.report.leaderboard_page._aurocs_by_seed", broken)
    folder = _written(made, made.folder / "broken", (1, 2))
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text().replace("&#39;", "'")
        assert "the section 'Seeds' could not be made: ZeroDivisionError at tests/" in text
        assert text.lower().count("not drawn: zerodivisionerror at tests/") == 2
        assert "finetune.adapter.rank" in text, "another section"
        assert " in 80 s" in text, "another figure"
    assert json.loads((folder / "headline.json").read_text())


def test_two_outcomes_of_nearly_the_same_admissions_are_not_both_counted(
    made: MadeUp, tmp_path: Path
) -> None:
    """Of the leaderboard alone, or with a report of the same run beside it."""
    path = made.outcomes["mortality"] / "outcomes" / "part-0.parquet"
    rows = pq.read_table(path).to_pylist()
    test = set(made.test_ids.tolist())
    dropped = [row["hadm_id"] for row in rows if row["hadm_id"] in test][:4]
    known = [row | {"observed": row["hadm_id"] not in dropped} for row in rows]
    outcomes = {**made.outcomes, "mortality": tmp_path / "mortality"}
    shutil.copytree(made.outcomes["mortality"], outcomes["mortality"])
    changed = pa.Table.from_pylist(known, schemas.OUTCOMES)
    tables.write(outcomes["mortality"] / "outcomes" / "part-0.parquet", schemas.OUTCOMES, changed)
    folder = _written(replace(made, outcomes=outcomes), tmp_path / "board", (1, 2))
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text()
        assert f"Known in {len(test)} test admissions" in text
        assert "Known in a withheld number of test admissions" in text
        counts = re.findall(r"(\S+) test admissions", text)
        assert set(counts) == {str(len(test)), "of"}, "'a withheld number of test admissions'"


def test_no_auroc_stands_without_its_interval_or_why(folder: Path) -> None:
    for line in json.loads((folder / "headline.json").read_text()):
        known = re.fullmatch(r"0\.\d{3}\u20130\.\d{3}", line["95% interval"])
        assert bool(known) != bool(line[NOTE])


def test_no_identifier(made: MadeUp, folder: Path) -> None:
    for name in ("report.html", "report.md", "headline.json"):
        text = (folder / name).read_text()
        assert not any(str(hadm_id) in text for hadm_id in made.test_ids)


def test_only_the_keys_that_differ_are_shown_as_differing() -> None:
    found = compared(
        {
            "a": {
                "name": "a",
                "finetune": {"training": {"seed": 1}, "adapter": {"rank": 4}, "e": 3},
            },
            "b": {
                "name": "b",
                "finetune": {"training": {"seed": 2}, "adapter": {"rank": 8}, "e": 3, "new": None},
            },
        }
    )
    assert found.differing == (
        ("finetune.adapter.rank", ("4", "8")),
        ("finetune.new", (MISSING, "none")),
    )
    assert found.common == "finetune.e: 3\n"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_nothing_overflows_in_a_browser_and_the_console_is_silent(
    page: str, tmp_path: Path, width: int
) -> None:
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
    done = subprocess.run(
        [
            *(CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=1400,1000", "--virtual-time-budget=5000"),
            *("--dump-dom", outer.as_uri()),
        ],
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
    assert "CONSOLE" not in done.stderr


def test_published_figures_stand_beside_the_model_that_they_are_named_for(
    made: MadeUp, tmp_path: Path
) -> None:
    theirs = Published(
        source="Somebody (2023), of other patients.",
        rows=(
            PublishedRow(name="Their LoRA", auroc={"diagnoses": 0.7837}, beside="one/fused"),
            PublishedRow(name="Their BERT", auroc={"mortality": 0.819}),
        ),
    )
    out = _written(made, tmp_path / "out", seeds=(1,), published=theirs)
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    board = next(b for b in Standings.read(out).boards if b.outcome == "diagnoses")
    (ours,) = [s.macro.value for s in board.standings if s.name == "one/fused"]
    section = text.split("## Published figures")[1].split("##")[0]
    (lora,) = [line for line in section.splitlines() if "Their LoRA" in line]
    assert "| 0.784 |" in lora
    assert f"one/fused | {ours:.3f}" in lora
    (bert,) = [line for line in section.splitlines() if "Their BERT" in line]
    assert bert.count(MISSING) >= 3  # no diagnoses of theirs, and no model of ours
    assert "Somebody (2023), of other patients." in page
    assert page.count("<td>published</td>") == 2
    assert page.count("<td>measured here</td>") == 1


def test_a_page_without_published_figures_has_no_section_for_them(
    made: MadeUp, tmp_path: Path
) -> None:
    out = _written(made, tmp_path / "out", seeds=(1,))
    assert "Published figures" not in (out / "report.html").read_text()


def _written(
    made: MadeUp,
    out: Path,
    seeds: tuple[int, ...],
    spent: dict[str, Spent] | None = None,
    published: Published | None = None,
) -> Path:
    out.mkdir()
    settings: dict[str, Any] = {}
    runs = []
    for name, noise, rank in (("one", 0.3, 4), (LONG, 1.0, 8)):
        evaluate = {"truth": str(made.truth), "smallest_cell": 10}
        finetune = {"adapter": {"rank": rank}}
        settings[name] = {"name": name, "finetune": finetune, "evaluate": evaluate}
        runs.append(entrant(made, name, noise=noise, seeds=seeds))
    write_standings(out, runs, None)
    origin = Origin(kind="cohort", key="0123456789abcdef", digest="f" * 64)
    leaderboard = Leaderboard(
        name="made-up",
        standings=Standings.read(out).model_copy(update={"spent": spent} if spent else {}),
        settings=settings,
        leaks={"one": (), LONG: ("the view 'full' is known at discharge",)},
        lineage=Lineage(artifacts=(origin,)),
        cohort=read_cohort(made.cohort),
        smallest_cell=10,
        synthetic=True,
        published=published,
        made=MADE,
    )
    write_page(out, leaderboard)
    return out
