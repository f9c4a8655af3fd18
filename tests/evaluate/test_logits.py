"""What a model's logits come to: classes by their softmax, all other labels as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.known import Known
from tasks.evaluate.measuring import Work, write_metrics
from tasks.measures.auroc import label_aurocs
from tasks.measures.sample import Sample
from tests.evaluate.made_up import MadeUp, make_run, write_predictions


@pytest.fixture
def run(tmp_path: Path) -> MadeUp:
    return make_run(tmp_path)


def test_a_constant_added_to_a_row_of_classes_changes_no_bit(run: MadeUp) -> None:
    _one_of(run)
    known, before, logits = _scores(run, lambda logits: logits)
    # sixteenths, so that the sum is exact in float32
    constants = np.random.default_rng(0).integers(-(2**22), 2**22, (len(logits), 1)) / 16
    _, after, _ = _scores(run, lambda logits: logits + constants)
    np.testing.assert_array_equal(before, after)
    raw = label_aurocs(
        Sample.of(
            (logits + constants).astype(np.float32), known.cases, known.observed, known.patients
        )
    )
    exact = label_aurocs(Sample.of(after, known.cases, known.observed, known.patients))
    assert np.nanmax(np.abs(raw.auroc - exact.auroc)) > 0.05, "the constants matter where ranked"


def test_of_two_classes_the_difference_of_the_logits_is_ranked(run: MadeUp) -> None:
    _one_of(run, keep=2)
    _, scores, logits = _scores(run, lambda logits: logits[:, :2])
    apart = logits[:, 1] - logits[:, 0]
    np.testing.assert_array_equal(scores, np.stack([-apart, apart], axis=1))


def test_other_labels_pass_through_no_softmax(run: MadeUp) -> None:
    """Codes are not classes: an admission that gets more of everything ranks higher."""
    known, scores, logits = _scores(run, lambda logits: logits)
    assert (np.diff(known.hadm_id) > 0).all()
    np.testing.assert_array_equal(scores, logits)
    _, shifted, _ = _scores(run, lambda logits: logits + np.arange(len(logits))[:, None])
    assert (shifted[:, 0] != scores[:, 0]).any()


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_far_out_logits_overflow_nowhere(run: MadeUp, classes: bool) -> None:
    if classes:
        _one_of(run)

    def far(logits: np.ndarray) -> np.ndarray:
        logits[:5], logits[5:9, ::2], logits[5:9, 1::2] = 1e38, 3.4e38, -3.4e38
        return logits

    _, scores, _ = _scores(run, far)
    assert np.isfinite(scores).all()
    out = run.folder / "out"
    out.mkdir()
    outcome = {"diagnoses": run.outcomes["diagnoses"]}
    write_metrics(out, Work(run.cohort, outcome, run.artifacts[:1]), run="test", seed=0)
    values = pq.read_table(out / "metrics.parquet", columns=["value", "low", "high"])
    for column in values.columns:
        assert np.isfinite(column.drop_null().to_numpy()).all()


def _scores(run: MadeUp, change: object) -> tuple[Known, np.ndarray, np.ndarray]:
    """The outcome, its scores as they are ranked, and the unchanged logits in rising hadm_id."""
    admissions = read_admissions(run.cohort)
    known = read_known("diagnoses", run.outcomes["diagnoses"], admissions)
    source = run.predictions["unfused"]["diagnoses"] / "test.parquet"
    table = pq.read_table(source).sort_by("hadm_id")
    # sixteenths, too
    logits = np.round(np.array(table["logits"].to_pylist()) * 16) / 16
    logits = logits.astype(np.float32)
    path = run.predictions["fused"]["diagnoses"] / "test.parquet"
    changed = change(logits.copy())  # type: ignore[operator]
    write_predictions(path, table["hadm_id"].to_numpy(), changed)
    return known, read_scores("fused", path, known, admissions), logits


def _one_of(run: MadeUp, keep: int = 12) -> None:
    """Make the diagnoses classes of one code system, of which an admission has one."""
    place = run.outcomes["diagnoses"]
    labels = pq.read_table(place / "labels" / "part-0.parquet").to_pylist()[:keep]
    labels = [row | {"one_of": True, "code_system": "classes"} for row in labels]
    rows = pq.read_table(place / "outcomes" / "part-0.parquet").to_pylist()
    random = np.random.default_rng(1)
    for row in rows:
        own = [label for label in row["labels"] if label < keep]
        row |= {"code_system": "classes", "labels": (own or [int(random.integers(keep))])[:1]}
    for name, schema, found in (
        ("labels", schemas.LABELS, labels),
        ("outcomes", schemas.OUTCOMES, rows),
    ):
        tables.write(place / name / "part-0.parquet", schema, pa.Table.from_pylist(found, schema))
