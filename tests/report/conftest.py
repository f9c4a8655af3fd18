"""A made-up run with every measure, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.measuring import Work, write_metrics
from tasks.evaluate.stack import write_stack
from tasks.report.config import Lineage, Origin
from tasks.report.facts import (
    Cost,
    Making,
    read_arms,
    read_cohort,
    read_difficulty,
    read_labels,
)
from tasks.report.findings import Findings
from tasks.report.page import write_report
from tasks.report.story import Story
from tests.evaluate.made_up import MadeUp, make_run
from tests.report.made_up_rows import add_every_measure, keep_aurocs_alone


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=400, labels=60)


@pytest.fixture(scope="session")
def plain_story(run: MadeUp) -> Story:
    """What a run tells of which AUROCs alone were measured."""
    work = Work(run.cohort, run.outcomes, run.artifacts, run.perplexity, run.truth)
    write_metrics(run.folder, work, run="made-up", seed=1)
    keep_aurocs_alone(run.folder)
    return _story(run, run.folder)


@pytest.fixture(scope="session")
def story(run: MadeUp, plain_story: Story, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The same with every measure, its numbers made up: a test can say them."""
    folder = tmp_path_factory.mktemp("measured")
    for name in ("metrics.parquet", "curves.parquet", "variants.json"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    add_every_measure(folder)
    return _story(run, folder)


@pytest.fixture(scope="session")
def stacked_story(run: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What the run tells where each of its members is stacked with TF-IDF too."""
    folder = tmp_path_factory.mktemp("stacked")
    tfidf = run.folder / "predictions-tfidf"
    stacks = [folder / name for name in ("fused", "unfused")]
    for stack in stacks:
        write_stack(stack, run.folder / f"predictions-{stack.name}", tfidf, run.outcomes)
    work = Work(run.cohort, run.outcomes, (*run.artifacts, *stacks), run.perplexity, run.truth)
    write_metrics(folder, work, run="made-up", seed=1)
    return _story(run, folder)


@pytest.fixture(scope="session")
def folder(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, story)
    return folder


@pytest.fixture(scope="session")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def _story(run: MadeUp, folder: Path) -> Story:
    origin = Origin(
        kind="notes", key="0123456789abcdef", digest="f" * 64, created="2026-11-21T11:51:47+00:00"
    )
    findings = Findings.read(folder)
    histories = {
        "base": (run.histories["base"],),
        "clinical adapter": (run.histories["pretrain"],),
        "task adapters": tuple(sorted(run.histories["finetune"].iterdir())),
    }
    return Story(
        run="made-up",
        findings=findings,
        cohort=read_cohort(run.cohort),
        labels=read_labels(run.outcomes),
        arms=read_arms(histories, findings.records),
        curves=folder / "curves.parquet",
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
        smallest_cell=10,
        synthetic=False,
        published=True,
        made=Making("2026-11-26 14:05 UTC", "0.9.1", "0123456789ab"),
        costs={
            "clinical": Cost(parameters=421_888),
            "fused": Cost(parameters=92_572),
            "unfused": Cost(parameters=92_572),
            "tfidf": Cost(seconds=12.3),
        },
    )
