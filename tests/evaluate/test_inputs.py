"""Bad input to the evaluate stage: each a clear error that names the artifact and the rows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_known, read_scores
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
        (lambda ids, logits: (ids[:0], logits[:0]), r"have no row among 0"),
    ],
)
def test_predictions_that_do_not_fit(
    run: MadeUp, spoil: Callable[..., tuple[np.ndarray, np.ndarray]], words: str
) -> None:
    path = run.predictions["unfused"]["diagnoses"] / "test.parquet"
    write_predictions(path, *spoil(*_predictions(path)))
    with pytest.raises(EvaluationError, match=words) as error:
        _measure(run)
    artifact = f"{run.folder.name}/predictions-unfused"
    assert str(error.value).startswith(f"{artifact}: predictions of variant 'unfused' for outcome")
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


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda table: _as(table, pa.list_(pa.float64(), 12)),
            r"'logits' .* double>\[12\], not .*",
        ),
        (lambda table: _as(table, pa.list_(pa.float16(), 12)), r"'logits' .*halffloat"),
        (lambda table: _as(table, pa.list_(pa.float32())), r"'logits' .*list<"),
        (lambda table: _nullable(table, [0, 3]), r"'hadm_id' .* may be null, and is in 2"),
        (lambda table: _without_logits(table, [1]), r"1 of \d+ rows .* none at a label"),
        (
            lambda table: table.append_column("note", pa.array(["x"] * len(table))),
            "'note' too many",
        ),
        (lambda table: table.drop_columns(["logits"]), "no column 'logits'"),
    ],
)
def test_predictions_of_other_columns(
    run: MadeUp, spoil: Callable[[pa.Table], pa.Table], words: str
) -> None:
    path = run.predictions["fused"]["diagnoses"] / "test.parquet"
    table = spoil(pq.read_table(path))
    pq.write_table(table, path)
    error = _refused(run, words)
    assert error.startswith(f"{run.folder.name}/predictions-fused: ")
    assert re.search(rf"\b{len(table)} rows", error)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: b"", lambda data: b"hadm_id,logits\n1,2\n"]
)
def test_predictions_that_are_no_parquet(run: MadeUp, spoil: Callable[[bytes], bytes]) -> None:
    path = run.predictions["fused"]["diagnoses"] / "test.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    error = _refused(run, "test.parquet .* no readable Parquet; delete the artifact")
    assert error.startswith(f"{run.folder.name}/predictions-fused: ")


def test_an_artifact_is_named_by_its_manifest_wherever_the_file_lies(run: MadeUp) -> None:
    artifact = run.folder / "predictions" / "0123456789abcdef"
    shutil.copytree(run.artifacts[0], artifact)
    run.predictions["fused"]["diagnoses"] = artifact / "fused" / "diagnoses"
    del run.predictions["fused"]["mortality"]
    (artifact / "fused" / "diagnoses" / "test.parquet").write_bytes(b"")
    assert _refused(run, "no readable").startswith("predictions/0123456789abcdef: test.parquet")


@pytest.mark.parametrize("split", ["test", "validation"])
def test_predictions_that_are_missing(run: MadeUp, split: str) -> None:
    admissions = read_admissions(run.cohort)
    known = read_known("mortality", run.outcomes["mortality"], admissions, split)
    path = run.predictions["fused"]["mortality"] / f"{split}.parquet"
    path.unlink()
    with pytest.raises(EvaluationError, match=rf"are not there \({split}.parquet for \d+ adm"):
        read_scores("fused", path, known, admissions, split)


def test_an_empty_cohort(run: MadeUp) -> None:
    path = run.cohort / "admissions" / "part-0.parquet"
    tables.write(path, schemas.ADMISSIONS, schemas.ADMISSIONS.empty_table())
    assert _refused(run, "the cohort's 0 admissions").startswith(f"{run.folder.name}/cohort: ")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda table: table.slice(0, 0), r"outcome 'diagnoses' has no labels \(0 rows\)"),
        (
            lambda table: table.filter(pc.not_equal(table["index"], 4)),
            r"\(11 rows\) does not number",
        ),
        (lambda table: table.slice(0, 5), r"\(\d+ rows\) points outside its 5 labels"),
        (lambda table: table.drop_columns(["one_of"]), r"\(12 rows\) has no column 'one_of'"),
    ],
)
def test_label_tables_that_do_not_fit(
    run: MadeUp, spoil: Callable[[pa.Table], pa.Table], words: str
) -> None:
    path = run.outcomes["diagnoses"] / "labels" / "part-0.parquet"
    pq.write_table(spoil(pq.read_table(path)), path)
    assert _refused(run, words).startswith(f"{run.folder.name}/outcome-diagnoses: ")


def test_an_outcome_of_no_test_admission(run: MadeUp) -> None:
    place = run.outcomes["diagnoses"] / "outcomes"
    _rewrite(place, "observed", lambda column: [False] * len(column))
    _refused(run, "12 of its 12 labels are observed in none of its 0 observed")


def test_perplexity_without_tokens(run: MadeUp) -> None:
    _rewrite(run.perplexity / "perplexity", "tokens", lambda column: [0] * len(column))
    words = r"the perplexity table \(60 rows\) has no tokens"
    assert _refused(run, words).startswith(f"{run.folder.name}/perplexity: ")


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


def _refused(run: MadeUp, words: str) -> str:
    """What the user is told; nothing was written."""
    with pytest.raises(EvaluationError, match=words) as error:
        _measure(run)
    assert not list((run.folder / "out").iterdir()), "nothing half-written"
    assert not any(str(one) in str(error.value) for one in run.test_ids)
    assert str(run.folder) not in str(error.value)
    return str(error.value)


def _as(table: pa.Table, kind: pa.DataType) -> pa.Table:
    values = pa.array(table["logits"].to_pylist(), kind)
    return table.set_column(1, pa.field("logits", kind, nullable=False), values)


def _nullable(table: pa.Table, rows: list[int]) -> pa.Table:
    ids = [None if row in rows else one for row, one in enumerate(table["hadm_id"].to_pylist())]
    return table.set_column(0, pa.field("hadm_id", pa.int64()), pa.array(ids, pa.int64()))


def _without_logits(table: pa.Table, rows: list[int]) -> pa.Table:
    """One logit of each of these rows is null."""
    kind = table.schema.field("logits")
    logits = table["logits"].to_pylist()
    for row in rows:
        logits[row][2] = None
    return table.set_column(1, kind, pa.array(logits, kind.type))


def _measure(run: MadeUp) -> None:
    (run.folder / "out").mkdir()
    work = Work(run.cohort, run.outcomes, run.artifacts, run.perplexity, run.truth)
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
