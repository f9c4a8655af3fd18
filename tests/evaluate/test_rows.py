"""The metric rows: what is pooled, what is compared, and what is kept back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.measuring import Work, write_metrics
from tasks.evaluate.perplexity import perplexity_rows
from tasks.evaluate.subgroups import groups_of
from tasks.metrics_table import FITTED_OUTPUT, NEXT_TOKEN
from tasks.report.findings import Findings
from tasks.report.summaries import headline
from tasks.variants import BEST, FILE, read_records
from tests.evaluate.made_up import VARIANTS, MadeUp, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=400)


@pytest.fixture(scope="module")
def findings(run: MadeUp) -> Findings:
    return _measure(run, run.folder / "whole")


def test_macro_is_the_mean_over_labels_and_pools_code_systems(
    run: MadeUp, findings: Findings
) -> None:
    from sklearn.metrics import roc_auc_score

    admissions = read_admissions(run.cohort)
    known = read_known("diagnoses", run.outcomes["diagnoses"], admissions)
    path = run.predictions["fused"]["diagnoses"] / "test.parquet"
    scores = read_scores("fused", path, known, admissions)
    by_system: list[list[float]] = [[], []]
    for label in range(known.labels):
        seen = known.observed[:, label]
        found = roc_auc_score(known.cases[seen, label], scores[seen, label])
        by_system[known.group[label]].append(found)
        row = findings.get(
            "auroc",
            "fused",
            "diagnoses",
            known.code_systems[known.group[label]],
            known.codes[label],
        )
        assert row
        assert row["value"] == pytest.approx(found, abs=1e-12)
        assert row["positives"] == known.cases[:, label].sum()
    for system, values in zip(known.code_systems, by_system, strict=True):
        row = findings.get("auroc_macro", "fused", "diagnoses", system)
        assert row
        assert row["value"] == pytest.approx(np.mean(values), abs=1e-12)
    pooled = findings.get("auroc_macro", "fused", "diagnoses")
    micro = findings.get("auroc_micro", "fused", "diagnoses")
    assert pooled
    assert micro
    assert pooled["value"] == pytest.approx(np.mean([*by_system[0], *by_system[1]]), abs=1e-12)
    expected = roc_auc_score(known.cases[known.observed], scores[known.observed])
    assert micro["value"] == pytest.approx(expected, abs=1e-12)
    assert (pooled["n"], pooled["positives"]) == (len(known.hadm_id), known.cases.sum())


def test_variants_are_compared_on_the_same_admissions(findings: Findings) -> None:
    assert [model.name for model in findings.models] == ["fused", "unfused", "tfidf"]
    rows = [
        row
        for row in findings.of("auroc_macro_difference")
        if row["outcome"] == "diagnoses" and row["code_system"] is None
    ]
    assert [(row["variant"], row["against"]) for row in rows] == [
        ("fused", "unfused"),
        ("fused", "tfidf"),
    ]
    for row in rows:
        ours = findings.get("auroc_macro", row["variant"], "diagnoses")
        theirs = findings.get("auroc_macro", row["against"], "diagnoses")
        assert ours
        assert theirs
        assert row["value"] == pytest.approx(ours["value"] - theirs["value"], abs=1e-12)
        assert row["low"] < row["value"] < row["high"]


def test_the_share_of_the_way_to_the_best(findings: Findings) -> None:
    share = findings.get("share_of_best", "fused", "diagnoses")
    ours = findings.get("auroc_macro", "fused", "diagnoses")
    best = findings.get("auroc_macro", "p_best", "diagnoses")
    assert share
    assert ours
    assert best
    expected = (ours["value"] - 0.5) / (best["value"] - 0.5)
    assert share["value"] == pytest.approx(expected, abs=1e-12)
    assert share["low"] < expected < share["high"]


def test_where_truth_knows_part_of_the_cells_both_are_measured_on_that_part(
    run: MadeUp, findings: Findings, tmp_path: Path
) -> None:
    truth = tables.read(run.truth, schemas.TRUTH)
    kept = [row for row in truth.to_pylist() if row["label"] != "C03"]
    part = tmp_path / "truth.parquet"
    tables.write(part, schemas.TRUTH, pa.Table.from_pylist(kept, schemas.TRUTH))
    found = _measure(run, tmp_path / "part", truth=part)
    count = found.get("labels_defined", "p_best", "diagnoses")
    share = found.get("share_of_best", "fused", "diagnoses")
    best = found.get("auroc_macro", "p_best", "diagnoses")
    assert count
    assert share
    assert best
    assert count["value"] == 11
    labels = [
        row["value"]
        for row in found.of("auroc", aggregates=False)
        if (row["variant"], row["outcome"]) == ("fused", "diagnoses") and row["code"] != "C03"
    ]
    expected = (np.mean(labels) - 0.5) / (best["value"] - 0.5)
    assert share["value"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("split", ["all together", "by outcome"])
def test_artifacts_may_hold_several_variants_or_one_outcome(
    run: MadeUp, findings: Findings, tmp_path: Path, split: str
) -> None:
    artifacts = {}
    for variant, folders in run.predictions.items():
        for outcome, folder in folders.items():
            artifact = tmp_path / (split if split == "all together" else f"{variant} {outcome}")
            shutil.copytree(folder, artifact / variant / outcome)
            shutil.copy(folder.parent / FILE, artifact / variant / FILE)
            artifacts[artifact] = None
    work = Work(run.cohort, run.outcomes, tuple(artifacts), run.perplexity, run.truth)
    write_metrics(tmp_path, work, run="test", seed=3)
    assert Findings.read(tmp_path).rows == findings.rows


def test_the_records_of_what_was_measured_lie_beside_the_rows(
    run: MadeUp, findings: Findings
) -> None:
    records = read_records(run.folder / "whole")
    assert [record.name for record in records] == [
        "fused",
        "unfused",
        "fused-without-clinical",
        "tfidf",
        "p_best",
    ]
    assert {row["variant"] for row in findings.rows} - {record.name for record in records} == {
        "clinical"  # of perplexity alone
    }
    assert set(records[:-1]) == set(VARIANTS)
    assert records[-1] == BEST


def test_a_record_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.artifacts[0] / "fused" / FILE).write_text("{")
    with pytest.raises(EvaluationError, match=r"fused/variant\.json in the predictions .* run fin"):
        _measure(run, tmp_path / "whole")


def test_a_bootstrap_checks_the_first_variant(run: MadeUp, tmp_path: Path) -> None:
    work = Work(run.cohort, run.outcomes, run.artifacts, bootstrap_draws=200)
    write_metrics(tmp_path, work, run="test", seed=3)
    found = Findings.read(tmp_path)
    checks = found.of("auroc_macro_bootstrap")
    assert {row["variant"] for row in checks} == {"fused"}
    assert len(checks) == 5  # two code systems and pooled, mortality and pooled
    row = found.get("auroc_macro_bootstrap", "fused", "diagnoses")
    macro = found.get("auroc_macro", "fused", "diagnoses")
    error = found.get("auroc_macro_bootstrap_error", "fused", "diagnoses")
    assert row
    assert macro
    assert error
    assert "200 draws" in row["method"]
    assert row["value"] == macro["value"]
    assert row["low"] < macro["value"] < row["high"]
    assert error["value"] == pytest.approx((row["high"] - row["low"]) / 3.92, rel=0.25)


def test_an_outcome_of_one_label_has_one_interval(findings: Findings) -> None:
    """By label, macro and micro are the same number of the same patients."""
    label = next(
        row
        for row in findings.of("auroc", aggregates=False)
        if (row["variant"], row["outcome"]) == ("fused", "mortality")
    )
    assert label["low"] < label["value"] < label["high"]
    for metric in ("auroc_macro", "auroc_micro"):
        row = findings.get(metric, "fused", "mortality")
        assert row
        for bound in ("value", "low", "high"):
            assert row[bound] == pytest.approx(label[bound], abs=1e-12)


def test_a_row_without_an_interval_says_why(run: MadeUp, tmp_path: Path) -> None:
    few = make_run(tmp_path, admissions=150, labels=12)
    work = Work(few.cohort, few.outcomes, few.artifacts, subgroups=False)
    write_metrics(tmp_path / "out", work, run="test", seed=3)
    rows = Findings.read(tmp_path / "out").of("auroc", aggregates=False)
    withheld = [row for row in rows if row["low"] is None]
    assert withheld
    assert all(row["method"].startswith("interval withheld: ") for row in withheld)
    assert any("fewer than 10 patients with the label" in row["method"] for row in withheld)
    assert all(row["positives"] >= 10 for row in rows if row["low"] is not None)


def test_zeroed_adapters_are_a_check_and_no_contestant(findings: Findings) -> None:
    row = findings.get("logit_change_largest", "fused-without-clinical", "mortality")
    assert row
    assert row["value"] > 0
    assert "fused-without-clinical" not in {line["variant"] for line in headline(findings)}


def test_the_headline_ends_an_outcome_with_the_pooled_row(findings: Findings) -> None:
    spaces = [line["label space"] for line in headline(findings) if line["variant"] == "fused"]
    assert spaces == ["ICD-9-CM", "ICD-10-CM", "all codes", "one label"]


def test_perplexity_by_hand(tmp_path: Path) -> None:
    rows = {
        "subject_id": list(range(10)),
        "tokens": [100, 300] * 5,
        "bytes": [400, 1600] * 5,
        "nll_before": [200.0, 900.0] * 5,
        "nll_after": [150.0, 650.0] * 5,
    }
    place = tmp_path / "perplexity.parquet"
    tables.write(place, schemas.PERPLEXITY, pa.Table.from_pydict(rows, schemas.PERPLEXITY))
    by_metric = {row["metric"]: row for row in perplexity_rows(tmp_path)}
    before, after, ratio = (
        by_metric[f"perplexity_{name}"] for name in ("before", "after", "ratio")
    )
    assert before["outcome"] == NEXT_TOKEN
    assert before["value"] == pytest.approx(np.exp(1100 / 400))
    assert after["value"] == pytest.approx(np.exp(800 / 400))
    assert ratio["value"] == pytest.approx(after["value"] / before["value"])
    # mean -0.75 a token; influences (-50 + 75) / 2000 and (-250 + 225) / 2000, five of each;
    # 10 patients have 9 degrees of freedom, where Student's t is 2.262157
    half = 2.262157 * np.sqrt(10 / 9 * 10 * (25 / 2000) ** 2)
    assert ratio["low"] == pytest.approx(np.exp(-0.75 - half), rel=1e-5)
    apart = by_metric["loss_diff"]
    assert (apart["value"], apart["low"]) == pytest.approx((-0.75, -0.75 - half), rel=1e-5)
    bits = [by_metric[f"bits_per_byte_{name}"] for name in ("before", "after", "diff")]
    expected = [1100 / 2000, 800 / 2000, -300 / 2000]  # nats a byte
    assert [row["value"] for row in bits] == pytest.approx(np.array(expected) / np.log(2))
    # influences (-50 + 60) / 10000 and (-250 + 240) / 10000, in nats
    half = 2.262157 * np.sqrt(10 / 9 * 10 * (10 / 10000) ** 2) / np.log(2)
    assert bits[2]["high"] == pytest.approx(bits[2]["value"] + half, rel=1e-5)
    of_words = {row["metric"] for row in perplexity_rows(tmp_path, FITTED_OUTPUT)}
    assert of_words == {"loss_before", "loss_after", "loss_diff"}
    few = pa.Table.from_pydict({name: column[:9] for name, column in rows.items()})
    tables.write(place, schemas.PERPLEXITY, few.cast(schemas.PERPLEXITY))
    for row in perplexity_rows(tmp_path):
        assert np.isfinite(row["value"])
        assert np.isnan(row["low"])
        assert row["method"] == "interval withheld: fewer than 10 patients"


def test_small_groups_join_until_they_cannot_be_told_by_subtraction() -> None:
    column = pa.chunked_array([["A"] * 30 + ["B"] * 12 + ["C"] * 3 + [None] * 11])
    groups = groups_of(column, "race", np.arange(56), 10)
    assert set(groups) == {"A", "B", "other"}
    assert (groups[42:] == "other").all(), "C alone would be 56 - 30 - 12 - 11"
    ages = groups_of(pa.chunked_array([[20] * 12 + [80] * 12]), "age", np.arange(24), 10)
    assert set(ages) == {"18-44", "80 and over"}
    alone = groups_of(pa.chunked_array([["A"] * 5 + ["B"] * 2]), "race", np.arange(7), 10)
    assert set(alone) == {"other"}


def test_no_subgroup_row_is_of_fewer_patients_than_allowed(findings: Findings) -> None:
    groups = [row for row in findings.rows if row["group"] != "all"]
    assert {row["group"].partition("=")[0] for row in groups} >= {"sex", "age", "race"}
    assert min(row["n_patients"] for row in groups) >= 10


def _measure(run: MadeUp, out: Path, truth: Path | None = None) -> Findings:
    out.mkdir()
    work = Work(run.cohort, run.outcomes, run.artifacts, run.perplexity, truth or run.truth)
    counts = write_metrics(out, work, run="test", seed=3)
    found = Findings.read(out)
    assert counts["rows"] == len(found.rows)
    return found


def test_what_has_a_value_and_no_interval_says_why(findings: Findings) -> None:
    with_interval = ("auroc_macro", "auroc_micro", "f1_micro", "precision_at_5", "brier_macro")
    rows = [row for row in findings.rows if row["value"] is not None]
    rows = [row for row in rows if row["metric"] in with_interval or row["metric"] == "auroc"]
    withheld = [row for row in rows if row["low"] is None]
    assert withheld, "the made-up run must hold a label of few patients"
    assert all(row["method"].startswith("interval withheld: ") for row in withheld)
