"""What fails is left out of a page, says why in its place, and takes nothing else along."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.drawing import axes
from tasks.report.missing import attempt
from tasks.report.page import write_report
from tasks.report.sections import decisions, probabilities, subgroups
from tasks.report.story import Story
from tests.report.test_any_run import FAILED, PAGES


def test_nothing_of_an_ordinary_run_is_missing(folder: Path) -> None:
    for name in PAGES:
        text = (folder / name).read_text()
        assert FAILED not in text
        assert "Not drawn" not in text
        assert "not drawn" not in text
    page = (folder / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert len(sections) == 14
    assert re.findall(r'<li><a href="#(\w+)">', page) == sections
    assert page.count('<svg class="chart"') >= 20


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("math domain error")


@pytest.mark.parametrize(
    ("module", "name", "lost"),
    [
        (axes.Axis, "ticks", None),
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
    assert all("ValueError at tests/report/test_missing.py" in part.why for part in missing)
    assert all("math domain error" in part.why for part in missing)
    page, whole = ((path / "report.html").read_text() for path in (tmp_path, folder))
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
    monkeypatch.setattr("tasks.report.card_facts.CardFacts.calibration", broken)
    missing = write_report(tmp_path, story)
    assert {part.what for part in missing} >= {"the section 'Evaluation'", "item 24"}
    card = (tmp_path / "model-card.md").read_text()
    assert "the section 'Evaluation' could not be made: ValueError" in card
    assert "## Limitations" in card
    whole, changed = ((path / "tripod-ai.md").read_text() for path in (folder, tmp_path))
    lines = [line for line in whole.splitlines() if line.startswith("| ") and "(D" in line]
    assert sum(line not in changed for line in lines) <= 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_what_the_system_refuses_is_no_fault_of_a_part(error: Exception) -> None:
    def refused() -> None:
        raise error

    with pytest.raises(type(error)):
        attempt("the section 'Data'", refused)
