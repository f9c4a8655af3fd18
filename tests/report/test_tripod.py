"""The TRIPOD+AI checklist: every item once, answered or said to be open, and rightly counted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.report.card import write_card
from tasks.report.config import Lineage
from tests.evaluate.made_up import MadeUp, make_run
from tests.report.card_story import SETTINGS, measure, tell
from tests.report.made_up_rows import findings_of

# Collins et al., BMJ 2024;385:e078378, table 2: 27 numbers, 52 items
PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc"}
PARTS |= {23: "ab", 27: "abc"}
NUMBERS = [f"{number}{part}" for number in range(1, 28) for part in PARTS.get(number, [""])]
ONLY = {
    "D": {"9a", "12a", "12b", "12c", "15", "22", "27a", "27b"},
    "E": {"12f", "12g", "20c", "24"},
}
AUTHORS = "Not in the artifacts: to be written by the authors"
ROW = re.compile(
    r"^\| (\d+[a-g]?) \((D|E|D;E)\) \| (.+?) \| (filled|partly|open) \| (.+?) \|", re.M
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    made = make_run(tmp_path_factory.mktemp("run"))
    measure(made)
    return made


def read(out: Path) -> dict[str, tuple[str, str, str]]:
    """Item -> (applies, state, what the run says)."""
    rows = ROW.findall((out / "tripod-ai.md").read_text())
    assert [number for number, *_ in rows] == NUMBERS
    return {number: (applies, state, says) for number, applies, _, state, says in rows}


@pytest.fixture(scope="module")
def items(run: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    out = tmp_path_factory.mktemp("card")
    write_card(out, tell(run))
    return read(out)


def test_each_item_stands_once_and_applies_to_what_the_statement_says(
    items: dict[str, tuple[str, str, str]],
) -> None:
    assert len(items) == 52
    for number, (applies, _, _) in items.items():
        expected = next((part for part, numbers in ONLY.items() if number in numbers), "D;E")
        assert applies == expected, number


def test_what_no_run_can_know_is_open(items: dict[str, tuple[str, str, str]]) -> None:
    for number in ("2", "3c", "17", "18a", "18b", "18c", "18d", "19", "25", "27b", "27c"):
        assert items[number][1:] == ("open", AUTHORS)
    assert all((state == "open") == (says == AUTHORS) for _, state, says in items.values())


def test_what_the_run_knows_it_says_in_its_numbers(
    run: MadeUp, items: dict[str, tuple[str, str, str]]
) -> None:
    story = tell(run)
    cohort = story.cohort
    assert "a withheld number of admissions in the source" in items["20a"][2], "7 were left out"
    assert f"{cohort.admissions} admissions of {cohort.patients} patients" in items["20a"][2]
    test = cohort.splits[2]
    assert f"test: {test.admissions} admissions, {test.patients} patients" in items["21"][2]
    died = [label for label in story.labels if label.outcome == "mortality"]
    counts = ", ".join(str(sum(getattr(label, name) for label in died)) for name in _SPLITS)
    assert f"in-hospital mortality {counts}" in items["21"][2]
    row = story.findings.get("auroc_macro", "fused", "diagnoses")
    assert row
    assert f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})" in items["23a"][2]
    assert items["23a"][1] == "filled"
    assert "first 77 of a text" in items["12b"][2]
    assert "In-hospital mortality (predicted 24 hours after admission)" in items["8a"][2]


def test_the_counts_at_the_top_are_those_of_the_rows(run: MadeUp, tmp_path: Path) -> None:
    write_card(tmp_path, tell(run))
    states = [state for _, state, _ in read(tmp_path).values()]
    top = (tmp_path / "tripod-ai.md").read_text().partition("## At a glance")[0]
    said = re.search(r"\*\*(\d+) filled, (\d+) partly, (\d+) open\*\*, of 52 items", top)
    assert said
    assert [int(count) for count in said.groups()] == [
        states.count(state) for state in ("filled", "partly", "open")
    ]


def test_an_item_that_cannot_be_filled_any_more_says_so(run: MadeUp, tmp_path: Path) -> None:
    write_card(tmp_path, tell(run, settings={}, lineage=Lineage()))
    items = read(tmp_path)
    for number in ("8a", "9a", "13", "18f"):
        assert items[number][1:] == ("open", AUTHORS), number


def test_weighted_cases_and_no_subgroups_change_the_answers(run: MadeUp, tmp_path: Path) -> None:
    settings = SETTINGS | {"finetune": SETTINGS["finetune"] | {"class_weight": "balanced"}}
    story = tell(run, settings=settings)
    kept = [row for row in story.findings.rows if "=" not in row["group"]]
    write_card(tmp_path, tell(run, settings=settings, findings=findings_of(kept)))
    items = read(tmp_path)
    assert items["13"][1] == "partly"
    assert "Rare classes weigh more in the loss (balanced)" in items["13"][2]
    assert items["23a"][1] == "partly"
    assert items["20b"][1:] == ("open", AUTHORS)


@pytest.mark.parametrize(
    ("settings", "item", "said"),
    [
        ({"loss": {"kind": "focal"}}, "13", "(focal); probabilities are not corrected"),
        (
            {"loss": {"kind": "logit_adjusted", "probabilities": "balanced"}},
            "13",
            "probabilities are those at even base rates",
        ),
        ({"loss": {"kind": "cross_entropy"}}, "13", "weighs the same in the loss"),
        (
            {"long_notes": {"kind": "head_tail", "tail_share": 0.5}},
            "12b",
            "the first and the last, together 77 of a text",
        ),
    ],
    ids=str,
)
def test_the_loss_and_what_is_read_are_told(
    run: MadeUp, tmp_path: Path, settings: dict[str, Any], item: str, said: str
) -> None:
    settings = SETTINGS | {"finetune": SETTINGS["finetune"] | settings}
    write_card(tmp_path, tell(run, settings=settings))
    assert said in read(tmp_path)[item][2]


def test_generated_patients_are_said_to_be_so(run: MadeUp, tmp_path: Path) -> None:
    write_card(tmp_path, tell(run, synthetic=True))
    text = (tmp_path / "tripod-ai.md").read_text()
    assert "The patients of this run were generated" in text.partition("## At a glance")[0]
    assert "Generated admissions of no real patient" in read(tmp_path)["5a"][2]


_SPLITS = ("train", "validation", "test")
