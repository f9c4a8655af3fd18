"""Counts of patients on a run's pages: small ones are on none, nor can a reader work them out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.report.count_cells import UNITS, cells_of
from tasks.report.facts import CohortFlow, SplitSize
from tasks.report.page import write_report
from tasks.report.story import Story
from tests.report.any_story import stories
from tests.report.made_up_rows import findings_of
from tests.report.test_any_run import PAGES
from tests.report.test_cells import assert_none_is_known

TEST, STAYED, ICD10 = 7337, 7331, 3226  # test admissions; 6 have no known outcome


def sized(story: Story, **sizes: int) -> Story:
    """The story with so many test admissions in which an outcome (or a code system) is known."""
    splits = (SplitSize("train", 31013, 40021), SplitSize("validation", 5003, 6007))
    splits = (*splits, SplitSize("test", 6011, TEST))
    reasons = (("no discharge note", 8009), ("empty admission note", 4))
    source = sum(split.admissions for split in splits) + 8013

    def with_size(row: dict[str, Any]) -> dict[str, Any]:
        wanted = sizes.get(row["code_system"] or row["outcome"], sizes.get(row["outcome"]))
        known = wanted if wanted and row["group"] == "all" else row["n"]
        return row | {"n": known, "n_patients": known - 1300 if known > 1400 else known}

    rows = [with_size(row) for row in story.findings.rows]
    return replace(
        story,
        cohort=CohortFlow(source, reasons, splits),
        findings=findings_of(rows),
    )


def written(story: Story, folder: Path) -> dict[str, str]:
    assert write_report(folder, story) == []
    return {name: (folder / name).read_text() for name in PAGES}


def numbers(text: str) -> set[int]:
    return {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)}


def test_a_count_that_gives_a_small_one_away_is_on_no_page(story: Story, tmp_path: Path) -> None:
    plain = written(sized(story, diagnoses=TEST, mortality=TEST), tmp_path)
    assert "7,337 admissions of 6,011 patients of the test split" in plain["report.html"]
    near = sized(story, diagnoses=TEST, icd10cm=ICD10, icd9cm=TEST - ICD10, mortality=STAYED)
    pages = written(near, tmp_path)
    for name, text in pages.items():
        assert STAYED not in numbers(text), f"{name}: 7,337 less 7,331 is 6"
        assert 8009 not in numbers(text), f"{name}: 8,013 left out less 8,009 is 4"
    assert "empty admission note: &lt;10" in pages["report.html"]
    assert "no discharge note: withheld" in pages["report.html"]
    assert pages["report.md"].count("| In-hospital mortality, one label | withheld |") == 1
    assert "a withheld number of admissions" in pages["model-card.md"]
    for name in ("report.html", "report.md", "model-card.md"):
        assert "others are withheld where such a one would follow" in pages[name]


def test_nothing_is_withheld_where_nothing_is_small(story: Story, tmp_path: Path) -> None:
    kept = [label for label in story.labels if label.outcome == "mortality"]
    large = [replace(kept[0], train=3000, validation=400, test=500)]
    plain = replace(
        sized(story, diagnoses=TEST, mortality=TEST), labels=large, quality=[], contamination={}
    )
    plain = replace(plain, cohort=replace(plain.cohort, exclusions=(("no note", 8013),)))
    assert not plain.counts.any_hidden
    page = written(plain, tmp_path)["report.html"]
    assert "withheld where such" not in page
    assert "left out: 8,013" in page


def test_the_same_small_class_is_hidden_in_the_report_and_the_card(
    story: Story, tmp_path: Path
) -> None:
    """Of four classes one is small: its sibling is not printed, for the test split is their sum."""
    (label,) = (label for label in story.labels if label.outcome == "mortality")
    cases = {"up to 3": 3001, "to 7": 2999, "to 14": 1329, "longer": 8}
    assert sum(cases.values()) == TEST
    classes = [
        replace(label, code=code, test=count, train=count * 5, validation=count * 2, one_of=True)
        for code, count in cases.items()
    ]
    changed = replace(sized(story, diagnoses=TEST, mortality=TEST), labels=classes)
    shown = {label.code: changed.counts.label(label, "test") for label in classes}
    assert shown == {"up to 3": "3,001", "to 7": "2,999", "to 14": "withheld", "longer": "<10"}
    for text in written(changed, tmp_path).values():
        assert 1329 not in numbers(text)


def test_groups_of_an_outcome_known_in_nearly_the_same_patients_have_no_size(
    story: Story, tmp_path: Path
) -> None:
    """By outcome, women would differ by 3: those who died."""

    def grouped(row: dict[str, Any]) -> dict[str, Any]:
        women, men = (3000, TEST - 3000)
        if row["outcome"] == "mortality":
            women, men = women - 3, men - 9
        size = {"sex=F": women, "sex=M": men}.get(row["group"])
        return row if size is None else row | {"n": size, "n_patients": size}

    apart = sized(story, diagnoses=TEST, mortality=TEST - 12)
    rows = [grouped(row) for row in apart.findings.rows]
    changed = replace(apart, findings=findings_of(rows))
    sizes = {
        row["outcome"]: changed.counts.group(row, "patients")
        for row in changed.findings.by_group("auroc_macro")
        if (row["group"], row["variant"]) == ("sex=F", "fused")
    }
    assert sizes == {"diagnoses": "3,000", "mortality": "withheld"}
    for text in written(changed, tmp_path).values():
        assert not numbers(text) & {2997, TEST - 3009}


def test_precision_curves_do_not_tell_how_many_died(story: Story, tmp_path: Path) -> None:
    (label,) = (label for label in story.labels if label.outcome == "mortality")
    others = [other for other in story.labels if other.outcome != "mortality"]
    few = replace(story, labels=[*others, replace(label, test=6)])
    page = written(few, tmp_path)["report.html"]
    assert "Precision-recall curves, In-hospital mortality" not in page
    assert "Not drawn: it would tell how many cases there are" in page
    assert "Precision-recall curves, Diagnoses" in page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_small_count_of_any_run_can_be_solved_for(folder: Path, data: st.DataObject) -> None:
    story = data.draw(stories(folder))
    smallest = data.draw(st.sampled_from([2, 5, 10]))
    cells = cells_of(replace(story, smallest_cell=smallest))
    for unit in UNITS:
        assert_none_is_known(cells, [(unit, "test"), *((unit, o) for o in story.findings.outcomes)])
