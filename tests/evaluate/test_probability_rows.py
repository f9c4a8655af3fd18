"""Rows of what is fitted on validation: over which labels, on which split, by which name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.measuring import Work, write_metrics
from tasks.evaluate.probability_rows import probability_rows
from tests.evaluate.made_up import MadeUp, make_run, write_predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("run"), admissions=800, labels=40)


@pytest.fixture(scope="module")
def rows(run: MadeUp) -> list[dict]:
    return _measured(run, run.folder / "out")


def _measured(run: MadeUp, out: Path) -> list[dict]:
    out.mkdir()
    work = Work(run.cohort, run.outcomes, run.artifacts)
    write_metrics(out, work, run="test", seed=3)
    return pq.read_table(out / "metrics.parquet").to_pylist()


def _value(rows: list[dict], metric: str, **wanted: object) -> dict:
    keys = {"variant": "fused", "outcome": "diagnoses", "code_system": None, "code": None}
    wanted = {"group": "all", "metric": metric} | keys | wanted
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_only_labels_with_cases_enough_are_calibrated(run: MadeUp, rows: list[dict]) -> None:
    known = read_known("diagnoses", run.outcomes["diagnoses"], read_admissions(run.cohort))
    positives = dict(zip(known.codes, known.cases.sum(0), strict=True))
    enough = {code for code, count in positives.items() if count >= 20}
    assert 0 < len(enough) < len(positives)
    for metric in ("brier", "ece", "calibration_slope_recalibrated"):
        of_labels = [
            row for row in rows
            if row["metric"] == metric and row["code"] and row["variant"] == "fused"
            and row["outcome"] == "diagnoses"
        ]  # fmt: skip
        assert {row["code"] for row in of_labels} == enough
        assert all(row["positives"] == positives[row["code"]] for row in of_labels)
    assert _value(rows, "labels_calibrated")["value"] == len(enough)
    by_system = [_value(rows, "labels_calibrated", code_system=name)["value"]
                 for name in known.code_systems]  # fmt: skip
    assert sum(by_system) == len(enough)


def test_means_and_medians_are_of_the_labels_of_the_band(run: MadeUp, rows: list[dict]) -> None:
    known = read_known("diagnoses", run.outcomes["diagnoses"], read_admissions(run.cohort))
    band = {code: 25 <= count <= 99 for code, count in zip(known.codes, known.train, strict=True)}
    for system in (None, "icd10cm"):
        own = [
            row for row in rows
            if row["code"] and band[row["code"]] and row["variant"] == "fused"
            and row["outcome"] == "diagnoses" and system in (None, row["code_system"])
        ]  # fmt: skip
        brier = [row["value"] for row in own if row["metric"] == "brier"]
        slope = [row["value"] for row in own if row["metric"] == "calibration_slope"]
        assert len(brier) > 1
        wanted = {"group": "cases=25-99", "code_system": system}
        found = _value(rows, "brier_macro", **wanted)
        assert found["value"] == pytest.approx(np.mean(brier), abs=1e-12)
        assert found["low"] < found["value"] < found["high"]
        found = _value(rows, "calibration_slope_median", **wanted)
        assert found["value"] == pytest.approx(np.median(slope), abs=1e-12)


def test_what_validation_teaches_mends_an_overconfident_model(run: MadeUp, tmp_path: Path) -> None:
    admissions = read_admissions(run.cohort)
    place = run.outcomes["mortality"]
    known = read_known("mortality", place, admissions)
    validation = read_known("mortality", place, admissions, "validation")
    assert set(known.hadm_id).isdisjoint(validation.hadm_id)
    path = run.predictions["fused"]["mortality"]
    scores = read_scores("fused", path / "test.parquet", known, admissions)
    learned = read_scores(
        "fused", path / "validation.parquet", validation, admissions, "validation"
    )
    rows, curves = probability_rows(
        "fused", known.sample(4 * scores), validation.sample(4 * learned), known
    )
    rows = [{"group": "all", "code": None} | row for row in rows]
    found = {row["metric"]: row for row in rows if row["code"]}
    assert found["calibration_slope"]["high"] < 0.5
    assert found["calibration_slope_recalibrated"]["value"] == pytest.approx(1, abs=0.4)
    assert found["ece_recalibrated"]["value"] < found["ece"]["value"]
    assert found["brier_recalibrated"]["value"] < found["brier"]["value"]
    names = {point["curve"] for point in curves}
    assert names == {"reliability", "reliability_recalibrated", "net_benefit", "net_benefit_all"}
    for name in names:
        x = [point["x"] for point in curves if point["curve"] == name]
        assert (np.diff(x) > 0).all()
    assert min(point["n"] for point in curves if "n" in point) >= 10


def test_thresholds_are_of_validation(run: MadeUp, tmp_path: Path) -> None:
    """Other predictions for validation move the thresholds; the test split alone cannot."""
    before = _measured(run, tmp_path / "before")
    moved = make_run(tmp_path / "moved", admissions=800, labels=40)
    path = moved.predictions["fused"]["diagnoses"] / "validation.parquet"
    table = pq.read_table(path)
    logits = np.array(table["logits"].to_pylist(), np.float32)
    write_predictions(path, table["hadm_id"].to_numpy(), logits + 2)
    after = _measured(moved, tmp_path / "after")
    system = {"code": "C01", "code_system": "icd10cm"}
    old, new = (_value(each, "threshold", **system)["value"] for each in (before, after))
    assert new == pytest.approx(old + 2, abs=1e-4)
    assert _value(before, "f1_macro")["value"] > _value(after, "f1_macro")["value"]
    assert _value(before, "auroc_macro") == _value(after, "auroc_macro")


def test_coding_is_measured_where_there_are_labels_enough(run: MadeUp, rows: list[dict]) -> None:
    for system in (None, "icd9cm", "icd10cm"):
        found = _value(rows, "precision_at_5", code_system=system)
        assert found["low"] < found["value"] < found["high"]
    pooled = _value(rows, "mean_average_precision")
    parts = [_value(rows, "mean_average_precision", code_system=s) for s in ("icd9cm", "icd10cm")]
    bare = [_value(rows, "admissions_without_label", code_system=s)["value"] for s in
            ("icd9cm", "icd10cm")]  # fmt: skip
    sizes = [part["n"] - none for part, none in zip(parts, bare, strict=True)]
    mean = np.average([part["value"] for part in parts], weights=sizes)
    assert pooled["value"] == pytest.approx(mean, abs=1e-12)
    assert not [r for r in rows if r["metric"] == "r_precision" and r["outcome"] == "mortality"]


def test_zeroed_variants_have_no_probabilities(rows: list[dict]) -> None:
    variants = {row["variant"] for row in rows if row["metric"] == "brier_macro"}
    assert variants == {"fused", "unfused", "tfidf"}


def test_missing_validation_predictions_are_one_clear_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run.predictions["tfidf"]["diagnoses"] / "validation.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"validation predictions of variant 'tfidf'") as told:
        _measured(run, tmp_path / "out")
    assert "validation.parquet" in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_validation_predictions_of_other_admissions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    place = run.predictions["fused"]["mortality"]
    (place / "validation.parquet").write_bytes((place / "test.parquet").read_bytes())
    with pytest.raises(EvaluationError, match="not in the validation split"):
        _measured(run, tmp_path / "out")
