"""The leaderboard: what is averaged, what is compared with what, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.leaderboard import Ranking, ranking_rows, rankings
from tasks.evaluate.leaderboard_costs import spent_by
from tasks.evaluate.leaderboard_entries import Entrant
from tasks.measures.auroc import label_aurocs
from tasks.measures.intervals import holm
from tasks.measures.sample import Sample
from tasks.metrics_table import to_table
from tasks.standings import Board
from tests.evaluate.leaderboards import entrant
from tests.evaluate.made_up import MadeUp, make_run, write_predictions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=500)


@pytest.fixture(scope="module")
def ranked(made: MadeUp) -> list[Ranking]:
    return rankings([entrant(made, "one"), entrant(made, "two", noise=1.5)], None)


@pytest.fixture(scope="module")
def rows(ranked: list[Ranking]) -> list[dict]:
    return rows_of(ranked)


def rows_of(ranked: list[Ranking]) -> list[dict]:
    return to_table(row for ranking in ranked for row in ranking_rows(ranking)).to_pylist()


def boards(entrants: list[Entrant], reference: str | None) -> list[Board]:
    return [ranking.board for ranking in rankings(entrants, reference)]


def test_the_best_comes_first_and_each_distinct_model_once(ranked: list[Ranking]) -> None:
    assert [ranking.board.outcome for ranking in ranked] == ["diagnoses", "mortality"]
    names = [standing.name for standing in ranked[0].board.standings]
    assert set(names) == {"one/fused", "one/unfused", "two/fused", "two/unfused", "one/tfidf"}
    values = [standing.macro.value for standing in ranked[0].board.standings]
    assert values == sorted(values, reverse=True)
    assert ranked[0].board.best == names[0]
    tfidf = next(row for row in ranked[0].board.standings if row.name == "one/tfidf")
    assert tfidf.twins == ("two/tfidf",)
    assert tfidf.deterministic


def test_a_models_value_is_the_mean_of_its_seeds(made: MadeUp, rows: list[dict]) -> None:
    admissions = read_admissions(made.cohort)
    known = read_known("diagnoses", made.outcomes["diagnoses"], admissions)
    by_hand = []
    for seed in (1, 2, 3):
        path = made.folder / f"two-fused-{seed}" / "fused" / "diagnoses" / "test.parquet"
        scores = read_scores("fused", path, known, admissions)
        ranked = label_aurocs(Sample.of(scores, known.cases, known.observed, known.patients))
        by_hand.append(float(np.nanmean(ranked.auroc)))
    mine = [
        row
        for row in rows
        if (row["run"], row["variant"], row["outcome"], row["code_system"], row["metric"])
        == ("two", "fused", "diagnoses", None, "auroc_macro")
    ]
    over = [row["value"] for row in mine if row["seed"] is None]
    assert over == pytest.approx([np.mean(by_hand)], abs=1e-12)
    assert {row["seed"]: row["value"] for row in mine if row["seed"] is not None} == pytest.approx(
        dict(zip((1, 2, 3), by_hand, strict=True)), abs=1e-12
    )
    checkpoint = [row["method"] for row in mine if row["seed"] is not None]
    assert all(method.startswith("this checkpoint only") for method in checkpoint)
    [spread] = _of(rows, "auroc_macro_seed_sd", run="two", variant="fused", code_system=None)
    assert spread["value"] == pytest.approx(np.std(by_hand, ddof=1), abs=1e-12)


def test_all_are_compared_with_the_first_runs_tfidf_and_corrected_together(
    ranked: list[Ranking], rows: list[dict]
) -> None:
    board = ranked[0].board
    assert board.reference == "one/tfidf"
    assert board.comparisons == 4
    apart = [row for row in board.standings if row.to_reference is not None]
    assert [row.holm for row in apart] == pytest.approx(
        holm([row.to_reference.p_value for row in apart])
    )
    alone = {row.name: row.macro.value for row in board.standings}
    for row in apart:
        assert row.to_reference.value == pytest.approx(
            alone[row.name] - alone["one/tfidf"], abs=1e-12
        )
    adjusted = _of(
        rows, "auroc_macro_difference_p_holm", run="one", variant="fused", against="one/tfidf"
    )
    assert "Holm over 4 comparisons" in adjusted[0]["method"]


def test_a_comparison_with_the_best_row_is_marked(ranked: list[Ranking], rows: list[dict]) -> None:
    best = ranked[0].board.best
    marked = [
        row
        for row in rows
        if row["outcome"] == "diagnoses" and "difference_to_best" in row["metric"]
    ]
    assert len(marked) == 2 * 5  # two metrics; four other models, of which one stands twice
    assert all(row["method"].startswith("chosen after looking") for row in marked)
    assert all(row["against"] == best for row in marked)
    assert all(row["value"] <= 0 for row in marked if not row["metric"].endswith("_p"))
    others = [row["method"] for row in rows if "to_best" not in row["metric"]]
    assert not any("looking" in method for method in others)


def test_identical_models_differ_by_nothing_and_are_no_comparison(made: MadeUp) -> None:
    one, two = entrant(made, "one"), entrant(made, "two")
    (board, _) = boards([one, replace(two, predictions=one.predictions)], "two/fused")
    assert board.reference == "one/fused"  # the same predictions, under the first name
    assert board.comparisons == 2
    fused = next(row for row in board.standings if row.name == "one/fused")
    assert fused.twins == ("two/fused",)
    assert fused.to_reference is None


def test_equal_ranks_in_other_bytes_give_zero_and_p_one(made: MadeUp) -> None:
    one = entrant(made, "one", noise=0.0, members=("fused",))
    doubled = {
        seed: [_scaled(artifacts[0], made.folder / f"doubled-{seed}"), *artifacts[1:]]
        for seed, artifacts in one.predictions.items()
    }
    (board, _) = boards([one, replace(one, run="two", predictions=doubled)], "one/fused")
    two = next(row for row in board.standings if row.name == "two/fused")
    assert (two.to_reference.value, two.to_reference.p_value, two.holm) == (0.0, 1.0, 1.0)


def test_a_reference_that_is_not_there_is_refused(made: MadeUp) -> None:
    with pytest.raises(EvaluationError, match=r"'one/magic' is none of the 3 .* one/fused"):
        rankings([entrant(made, "one")], "one/magic")


def test_without_a_baseline_the_first_model_is_the_reference(made: MadeUp) -> None:
    assert boards([entrant(made, "one", others=())], None)[0].reference == "one/fused"


def test_one_seed_is_marked(made: MadeUp) -> None:
    table = rows_of(rankings([entrant(made, "one", seeds=(4,))], None))
    values = [row for row in table if row["metric"] == "auroc_macro"]
    assert all(row["method"].startswith("this checkpoint only") for row in values)
    assert not any(row["metric"] == "auroc_macro_seed_sd" for row in table)


def test_runs_of_other_admissions_are_refused(made: MadeUp, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", admissions=300, labels=9, seed=1)
    with pytest.raises(
        EvaluationError,
        match=r"runs 'one' and 'two' cannot be compared on outcome 'diagnoses': 'one' has \d+ "
        r"observed test admissions and 12 labels, 'two' \d+ and 9, of which \d+ admissions and 9 ",
    ):
        rankings([entrant(made, "one"), entrant(other, "two")], None)


def test_runs_whose_labels_differ_are_refused(made: MadeUp, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(made.outcomes["mortality"], changed)
    path = changed / "outcomes" / "part-0.parquet"
    table = pq.read_table(path)
    flipped = [[] if labels else [0] for labels in table["labels"].to_pylist()]
    column = pa.array(flipped, schemas.OUTCOMES.field("labels").type)
    index = table.schema.get_field_index("labels")
    tables.write(path, schemas.OUTCOMES, table.set_column(index, "labels", column))
    two = entrant(made, "two")
    two = replace(two, outcomes={**two.outcomes, "mortality": changed})
    with pytest.raises(EvaluationError, match=r"'mortality': the labels or patients of (\d+) of "):
        rankings([entrant(made, "one"), two], None)
    fewer = replace(two, outcomes={"diagnoses": two.outcomes["diagnoses"]})
    with pytest.raises(EvaluationError, match="'one' predicts diagnoses, mortality, 'two' diag"):
        rankings([entrant(made, "one"), fewer], None)


def test_the_cost_of_a_fused_model_includes_the_clinical_adapters(made: MadeUp) -> None:
    spent = spent_by(entrant(made, "one"))
    assert spent["one/unfused"].seconds == pytest.approx(40.0)
    assert spent["one/fused"].seconds == pytest.approx(80.0)
    assert spent["one/fused"].flops is None, "no manifest"
    assert "one/tfidf" not in spent  # no history, no manifest


def test_what_manifests_count_adds_up_too(made: MadeUp, tmp_path: Path) -> None:
    one = entrant(made, "one", seeds=(1, 2))
    counts = {"parameters": 90, "adapter_parameters": 40, "flops": 100, "flops_to_best": 50}
    adapters = {
        seed: [
            _counted(path, tmp_path / f"{path.name}-{seed}", counts | {"cost": 0.5 * seed})
            for path in paths
        ]
        for seed, paths in one.adapters.items()
    }
    assert one.clinical
    of_clinical = {"trained_parameters": 8, "flops": 1000, "cost": 3.0}
    clinical = _counted(one.clinical, tmp_path / "clinical", of_clinical)
    spent = spent_by(replace(one, adapters=adapters, clinical=clinical))
    fused, unfused = spent["one/fused"], spent["one/unfused"]
    assert (unfused.parameters, unfused.adapter_parameters) == (90, 40)
    assert (fused.parameters, fused.adapter_parameters) == (98, 48)
    assert (fused.flops, fused.flops_to_best) == (1100, 1050)  # of an adapter all of it
    assert (unfused.cost, fused.cost) == (0.75, 3.75)  # the mean of two seeds
    assert fused.peak_mib
    assert unfused.peak_mib
    assert fused.peak_mib >= unfused.peak_mib  # the highest, no sum


def _of(rows: list[dict], metric: str, **wanted: object) -> list[dict]:
    return [
        row
        for row in rows
        if row["metric"] == metric
        and row["outcome"] == "diagnoses"
        and all(row[key] == value for key, value in wanted.items())
    ]


def _scaled(artifact: Path, to: Path) -> Path:
    """The predictions of an artifact with all logits doubled."""
    shutil.copytree(artifact, to)
    for path in to.glob("*/*/test.parquet"):
        table = pq.read_table(path)
        logits = 2 * np.array(table["logits"].to_pylist())
        write_predictions(path, table["hadm_id"].to_pylist(), logits)
    return to


def _counted(artifact: Path, to: Path, counts: dict[str, float]) -> Path:
    """An artifact with a manifest that has these counts."""
    shutil.copytree(artifact, to)
    (to / "manifest.json").write_text(json.dumps({"seconds": 1.0, "counts": counts}))
    return to
