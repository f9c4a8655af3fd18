"""The evaluate stage as a flow calls it: made once, taken from the store after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow

from tasks.errors import EvaluationError
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.steps import Contender, evaluate, rank, rank_runs
from tasks.keys import Artifact
from tasks.report.config import Lineage, Origin
from tasks.report.steps import Reported, difficulty_of, write_leaderboard, write_pages
from tasks.step import Counts, step
from tasks.store import Store
from tests.digests import digest_of
from tests.evaluate.leaderboards import entrant
from tests.evaluate.made_up import MadeUp, make_run, write_predictions


@step("imported", version=1)
def take_in(out: Path, source: Path) -> Counts:
    for path in source.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            place = out / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return {}


@flow(persist_result=False, result_serializer="json")
def measure(run: MadeUp, created: str) -> tuple[Artifact, Reported]:
    def taken(places: dict[str, Path]) -> dict[str, Artifact]:
        return {name: take_in(source=place) for name, place in places.items()}

    origin = Origin(kind="notes", key="k", digest="d", created=created)
    config, cohort, outcomes = (
        EvaluateConfig(truth=run.truth),
        take_in(source=run.cohort),
        taken(run.outcomes),
    )
    metrics = evaluate(
        config=config,
        run="made-up",
        seed=1,
        cohort=cohort,
        outcomes=outcomes,
        predictions=tuple(take_in(source=path) for path in run.artifacts),
        perplexity=take_in(source=run.perplexity),
    )
    report = write_pages(
        run="made-up",
        metrics=metrics,
        cohort=cohort,
        outcomes=outcomes,
        histories={name: (path,) for name, path in taken(run.histories).items()},
        quality=take_in(source=run.quality),
        contamination={},
        leaks=(),
        settings={"name": "made-up", "ingest": {"source": "somewhere"}},
        lineage=Lineage(artifacts=(origin,)),
        smallest_cell=10,
        difficulty=difficulty_of(run.truth),
        synthetic=run.truth is not None,
        published=False,
    )
    return metrics, Reported.of(report)


def test_made_once_then_reused(prefect_store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    metrics, first = _measure(run, "2026-11-21T11:51")
    page = prefect_store.path("report", first.report.key) / "report.html"
    written = page.stat().st_mtime_ns
    again = _measure(run, "2026-11-22T11:51")  # lineage is no part of the key
    assert again == (metrics, first)
    assert page.stat().st_mtime_ns == written
    assert "shares.unmentioned" in page.read_text(), "synth.json lies beside truth.parquet"
    assert {row["variant"] for row in first.table} == {"fused", "unfused", "tfidf", "p_best"}
    assert list(first.table[0]) == [
        "outcome",
        "label space",
        "variant",
        "macro AUROC",
        "95% interval",
        "micro AUROC",
        "labels",
        "why no interval",
    ]


def test_the_numbers_are_those_of_the_steps_version(prefect_store: Store, tmp_path: Path) -> None:
    made, _ = _measure(make_run(tmp_path / "run"), "2026-11-21T11:51")
    assert (evaluate.version, digest_of(prefect_store.path(made.kind, made.key))) == (
        7,
        "ef5ef069ccf4bce2",
    )


def test_a_refusal_leaves_nothing_behind(prefect_store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run.predictions["tfidf"]["mortality"] / "test.parquet"
    write_predictions(path, [1], np.array([[0.5]]))
    with pytest.raises(
        EvaluationError, match="variant 'tfidf' for outcome 'mortality': 1 of 1"
    ) as e:
        _measure(run, "2026-11-21T11:51")
    kind, key = str(e.value).partition(": ")[0].split("/")
    assert (prefect_store.path(kind, key) / "tfidf/mortality/test.parquet").is_file(), (
        "the artifact is named"
    )
    assert not list((prefect_store.root / "metrics").glob("*/manifest.json"))


@flow(persist_result=False, result_serializer="json")
def compare(run: MadeUp) -> tuple[Artifact, Reported]:
    def taken(paths: Iterable[Path]) -> tuple[Artifact, ...]:
        return tuple(take_in(source=path) for path in paths)

    made, seeds = entrant(run, "one", seeds=(1, 2)), (1, 2)
    cohort = take_in(source=run.cohort)
    contender = Contender(
        run="one",
        cohort=cohort,
        outcomes=dict(zip(run.outcomes, taken(run.outcomes.values()), strict=True)),
        predictions={seed: taken(made.predictions[seed]) for seed in seeds},
        adapters={seed: taken(made.adapters[seed]) for seed in seeds},
        clinical=take_in(source=run.histories["pretrain"]),
    )
    standings = rank([contender], reference=None)
    leaderboard = write_leaderboard(
        name="made-up",
        standings=standings,
        cohort=cohort,
        settings={"one": {"name": "one"}},
        leaks={"one": ()},
        lineage=Lineage(),
        smallest_cell=10,
        synthetic=True,
    )
    return standings, Reported.of(leaderboard)


def test_runs_are_ranked_once_and_drawn_from_the_record(
    prefect_store: Store, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    compared = compare.with_options(validate_parameters=False)
    standings, reported = compared(run)
    digest = digest_of(prefect_store.path(standings.kind, standings.key))
    assert (rank_runs.version, digest) == (2, "2f3a53597bb61c44")
    assert {line["model"] for line in reported.table} == {"one/fused", "one/unfused", "one/tfidf"}
    page = prefect_store.path("leaderboard", reported.report.key) / "report.html"
    written = page.stat().st_mtime_ns
    assert compared(run) == (standings, reported)
    assert page.stat().st_mtime_ns == written


def _measure(run: MadeUp, created: str) -> Any:
    return measure.with_options(validate_parameters=False)(run, created)
