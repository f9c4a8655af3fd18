"""Members stacked with TF-IDF: rows of their own, and nothing that the others lose."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from tasks.report.card_facts import CardFacts
from tasks.report.page import write_report
from tasks.report.sections.efficiency import efficiency
from tasks.report.story import Story
from tasks.report.summaries import summaries

MODELS = ["fused", "unfused", "tfidf", "fused+tfidf", "unfused+tfidf"]


@pytest.fixture(scope="module")
def pages(stacked_story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    assert write_report(folder, stacked_story) == []
    return folder


def test_a_stack_stands_after_what_it_is_made_of(stacked_story: Story, pages: Path) -> None:
    assert [model.name for model in stacked_story.findings.models] == MODELS
    lines = json.loads((pages / "headline.json").read_text())
    diagnoses = [line["variant"] for line in lines if line["outcome"] == "diagnoses"]
    assert diagnoses[:6] == [*MODELS, "p_best"]


def test_it_is_compared_with_both_of_its_parts(stacked_story: Story, pages: Path) -> None:
    titles = [pair.title for pair in stacked_story.findings.pairs]
    assert titles == [
        "Fused minus Task adapter only",
        "Fused minus TF-IDF",
        "Fused + TF-IDF minus Fused",
        "Fused + TF-IDF minus TF-IDF",
        "Task adapter only + TF-IDF minus Task adapter only",
        "Task adapter only + TF-IDF minus TF-IDF",
    ]
    page = unescape((pages / "report.html").read_text())
    assert all(f'data-name="{title}"' in page for title in titles)


def test_at_a_glance_the_first_model_is_the_one_that_is_spoken_of(stacked_story: Story) -> None:
    sentences = summaries(stacked_story.findings)[0].sentences
    assert sentences.startswith("The fused model reaches")
    assert len(re.findall(r"It is (?:above|below|not told apart)", sentences)) == 2
    assert "stacked" not in sentences


def test_it_costs_what_its_parts_cost(stacked_story: Story) -> None:
    story = stacked_story
    costs = {
        model.name: cost.seconds
        for model, cost in efficiency(story.findings, story.arms, story.costs)["costs"]
    }
    assert costs["fused+tfidf"] == pytest.approx(costs["fused"] + costs["tfidf"])
    assert costs["unfused+tfidf"] == pytest.approx(costs["unfused"] + costs["tfidf"])


def test_the_pages_say_what_stacked_means(story: Story, stacked_story: Story, pages: Path) -> None:
    for name in ("report.html", "report.md", "model-card.md"):
        assert "log-odds" in (pages / name).read_text()
    facts = CardFacts(stacked_story)
    assert [member.name for member in facts.members] == ["fused", "unfused"]
    assert [arm.title for arm in stacked_story.arms] == [arm.title for arm in story.arms]


def test_nothing_is_said_of_stacks_where_there_are_none(page: str) -> None:
    assert "<dt>Stacked" not in page
