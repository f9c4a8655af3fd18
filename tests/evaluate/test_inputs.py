"""Bad input to the evaluate stage: each a clear error that names the artifact and the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_admissions, read_known, read_scores
from tasks.evaluate.measuring import Work, write_metrics
from tasks.evaluate.truth import read_best
from tests.evaluate.made_up import MadeUp, make_run, write_predictions


@pytest.fixture
def run(tmp_path: Path) -> MadeUp:
    return make_run(tmp_path)


def test_rows_in_another_order_are_lined_up(run: MadeUp) -> None:
    admissions = read_admissions(run.cohort)
    known = read_known("diagnoses", run.outcomes["diagnoses"], admissions)
    path = run.predictions["fused"]["diagnoses"] / "test.parquet"
    before = read_scores("fused", path, known, admissions)
    ids, logits = _predictions(path)
    turned = np.argsort(-ids)
    write_predictions(path, ids[turned], logits[turned])
    np.testing.assert_array_equal(read_scores("fused", path, known, admissions), before)
    assert (np.diff(known.hadm_id) > 0).all()


def test_only_the_admissions_own_code_system_is_observed(run: MadeUp) -> None:
    known = read_known("diagnoses", run.outcomes["diagnoses"], read_admissions(run.cohort))
    by_system = [known.observed[:, known.group == group] for group in (0, 1)]
    assert (by_system[0].all(axis=1) ^ by_system[1].all(axis=1)).all()
    assert not (known.cases & ~known.observed).any()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda ids, logits: (ids, np.where(logits == logits[3, 2], np.nan, logits)),
            r"1 of .* NaN",
        ),
        (lambda ids, logits: (ids, np.where(logits == logits[3, 2], np.inf, logits)), "infinite"),
        (lambda ids, logits: (ids, logits[:, 1:]), r"11 logits a row in .* has 12 labels"),
        (lambda ids, logits: (np.append(ids[:-1], ids[0]), logits), r"1 of .* rows repeat"),
        (lambda ids, logits: (np.append(ids[:-1], 1), logits), r"1 of .* not in the cohort"),
        (lambda ids, logits: (ids[2:], logits[2:]), r"2 of .* have no row"),
    ],
)
def test_predictions_that_do_not_fit(
    run: MadeUp, spoil: Callable[..., tuple[np.ndarray, np.ndarray]], words: str
) -> None:
    path = run.predictions["unfused"]["diagnoses"] / "test.parquet"
    write_predictions(path, *spoil(*_predictions(path)))
    with pytest.raises(EvaluationError, match=words) as error:
        _measure(run)
    assert "variant 'unfused' for outcome 'diagnoses'" in str(error.value)
    assert not any(str(one) in str(error.value) for one in run.test_ids)
    assert not (run.folder / "out" / "metrics.parquet").exists(), "nothing half-written"


def test_predictions_of_another_split(run: MadeUp) -> None:
    path = run.predictions["fused"]["mortality"] / "test.parquet"
    admissions = read_admissions(run.cohort)
    train = admissions.filter(pc.equal(admissions["split"], "train"))["hadm_id"].to_numpy()[:5]
    ids, logits = _predictions(path)
    write_predictions(path, np.append(ids, train), np.append(logits, logits[:5], axis=0))
    with pytest.raises(EvaluationError, match=r"5 of .* not in the test split"):
        _measure(run)


def test_no_test_split(run: MadeUp) -> None:
    _rewrite(run.cohort / "admissions", "split", lambda column: ["train"] * len(column))
    with pytest.raises(EvaluationError, match="none of the cohort's 300 admissions"):
        _measure(run)


def test_a_label_observed_in_no_test_admission(run: MadeUp) -> None:
    place = run.outcomes["diagnoses"] / "outcomes"
    _rewrite(place, "code_system", lambda column: ["icd9cm"] * len(column))
    with pytest.raises(EvaluationError, match="6 of its 12 labels are observed in none"):
        _measure(run)


def test_duplicate_admissions(run: MadeUp) -> None:
    place = run.outcomes["mortality"] / "outcomes"
    _rewrite(place, "hadm_id", lambda column: [*column[:-1], column[0]])
    with pytest.raises(EvaluationError, match=r"outcome 'mortality': 1 of 300 rows repeat"):
        _measure(run)


def test_truth_of_other_data(run: MadeUp) -> None:
    _rewrite(run.truth, "hadm_id", lambda column: [one + 10**9 for one in column])
    with pytest.raises(EvaluationError, match="no p_best"):
        _measure(run)


def test_an_outcome_that_the_truth_does_not_know_has_no_best(run: MadeUp) -> None:
    of_diagnoses = ["diagnoses" if one == "diagnoses" else "elsewhere" for one in _outcomes(run)]
    _rewrite(run.truth, "outcome", lambda _: of_diagnoses)
    _measure(run)
    rows = pq.read_table(run.folder / "out" / "metrics.parquet").to_pylist()
    best = {row["outcome"] for row in rows if row["variant"] == "p_best"}
    assert best == {"diagnoses"}
    assert {"diagnoses", "mortality"} <= {row["outcome"] for row in rows}


def test_truth_is_laid_over_the_known_cells(run: MadeUp) -> None:
    known = read_known("diagnoses", run.outcomes["diagnoses"], read_admissions(run.cohort))
    found = read_best(run.truth, known)
    assert found is not None
    best, given = found
    assert (given == known.observed).all()
    rows = tables.read(run.truth, schemas.TRUTH).to_pylist()
    one = next(row for row in rows if row["hadm_id"] == known.hadm_id[7])
    assert best[7, known.codes.index(one["label"])] == np.float32(one["p_best"])


def _measure(run: MadeUp) -> None:
    (run.folder / "out").mkdir()
    work = Work(run.cohort, run.outcomes, run.predictions, run.perplexity, run.truth)
    write_metrics(run.folder / "out", work, run="test", seed=0)


def _outcomes(run: MadeUp) -> list[str]:
    return pq.read_table(run.truth, columns=["outcome"])["outcome"].to_pylist()


def _predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(path)
    logits = np.array(table["logits"].to_pylist(), np.float32)
    return table["hadm_id"].to_numpy(), logits


def _rewrite(place: Path, column: str, change: Callable[[list], list]) -> None:
    path = place if place.is_file() else place / "part-0.parquet"
    table = pq.read_table(path)
    index, kind = table.schema.get_field_index(column), table.schema.field(column)
    new = pa.array(change(table[column].to_pylist()), kind.type)
    tables.write(path, table.schema, table.set_column(index, kind, new))
