"""Below ten patients on either side no measure has an interval, and every one says the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.evaluate.known import Known
from tasks.evaluate.probability_rows import probability_rows
from tasks.evaluate.rows import comparison_rows, measure, share_rows, variant_rows
from tasks.evaluate.subgroups import subgroup_rows
from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import interval
from tasks.measures.pool import micro
from tasks.measures.sample import Sample
from tasks.measures.small_samples import FEW_PATIENTS, TOO_FEW
from tasks.metrics_table import WITHHELD

REASON = f"{WITHHELD}: {TOO_FEW}"
ADMISSIONS, EACH = 1_200, 3  # admissions of a patient with the label


@pytest.mark.parametrize("lacking", [False, True])
@pytest.mark.parametrize("patients", [9, 10])
def test_every_interval_of_one_label_is_withheld_or_none(patients: int, lacking: bool) -> None:
    known, scores = _ward(patients, lacking)
    rows = {(row["metric"], row.get("code")): row for row in _rows(known, scores)}
    asked = {
        ("auroc", "died"),
        ("auroc_macro", None),
        ("auroc_micro", None),
        ("auroc_weighted", None),
        ("auroc_macro_difference", None),
        ("auroc_micro_difference", None),
        ("share_of_best", None),
        ("brier", "died"),
        ("brier_macro", None),
        ("calibration_slope", "died"),
        ("calibration_intercept", "died"),
    }
    assert asked <= set(rows)
    for key in asked:
        row = rows[key]
        assert np.isfinite(row["value"]), key
        assert np.isnan(row["low"]) == np.isnan(row["high"]) == (patients < 10), key
        assert (row["method"] == REASON) == (patients < 10), key
    p_value = rows["auroc_macro_difference_p", None]["value"]
    assert np.isnan(p_value) == (patients < 10)


@pytest.mark.parametrize("lacking", [False, True])
def test_a_group_of_too_few_says_it_too(lacking: bool) -> None:
    known, scores = _ward(30, lacking)
    rows = list(subgroup_rows("fused", known.sample(scores), known, 10))
    groups = {row["group"]: row for row in rows if row["metric"] == "auroc_macro"}
    assert groups["sex=F"]["low"] < groups["sex=F"]["value"] < groups["sex=F"]["high"]
    assert np.isnan(groups["sex=M"]["value"]), "five patients of the rarer side"
    assert groups["sex=M"]["method"] == REASON


def test_patients_are_counted_once_however_many_labels_they_have() -> None:
    random = np.random.default_rng(4)
    cases = np.zeros((300, 5), bool)
    scores = random.normal(size=cases.shape).astype(np.float32)
    cases[:2] = True  # five labels of the same two patients
    for few, reason in ((cases, TOO_FEW), (~cases, TOO_FEW)):
        found = label_aurocs(Sample.of(scores, few, patients=np.arange(300)))
        for mean in (found.macro(), found.weighted()):
            assert interval(mean, np.arange(300)).reason == reason
        pooled = micro(Sample.of(scores, few, patients=np.arange(300)))
        assert interval(pooled, np.arange(300)).reason == reason
    cases[2:10, 0] = True  # ten in all, and one label rests on all of them
    found = label_aurocs(Sample.of(scores, cases, patients=np.arange(300))).macro()
    given = interval(found, np.arange(300))
    assert (given.reason, given.low < given.value < given.high) == ("", True)
    assert found.degrees is not None
    assert found.degrees <= 9.8, "ten patients know no more, however many labels they have"


@pytest.mark.parametrize("patients", [9, 10])
def test_a_mean_rests_on_the_patients_who_move_it(patients: int) -> None:
    influence = np.where(np.arange(50) < patients, 0.01, 0.0) * np.where(np.arange(50) % 2, 1, -1)
    found = interval(Estimate(0.4, influence), np.arange(50))
    assert found.reason == (FEW_PATIENTS if patients < 10 else "")
    assert np.isnan(found.low) == (patients < 10)
    assert found.degrees == patients - 1


def _ward(patients: int, lacking: bool) -> tuple[Known, np.ndarray]:
    """One label that so many patients have in three admissions each, or that so many lack.

    Every sixth of them is a man, the first ones women.
    """
    random = np.random.default_rng(3)
    owner = np.arange(ADMISSIONS) // EACH
    rare = owner < patients
    scores = random.normal(size=ADMISSIONS) + 1.5 * rare
    sex = np.where((owner % 6 == 5), "M", "F")
    known = Known(
        outcome="mortality",
        hadm_id=np.arange(ADMISSIONS),
        patients=owner,
        cases=(rare != lacking)[:, None],
        observed=np.ones((ADMISSIONS, 1), bool),
        code_systems=("mortality",),
        group=np.zeros(1, np.int64),
        codes=("died",),
        train=np.full(1, 50),
        admissions=pa.table(
            {"sex": sex, "age": np.full(ADMISSIONS, 50, np.int32)}
            | {name: ["one"] * ADMISSIONS for name in ("race", "insurance", "language")}
            | {"admission_type": ["one"] * ADMISSIONS}
        ),
    )
    return known, (-scores if lacking else scores).astype(np.float32)[:, None]


def _rows(known: Known, scores: np.ndarray) -> Iterator[dict[str, Any]]:
    noise = np.random.default_rng(5).normal(size=scores.shape).astype(np.float32)
    sample = known.sample(scores)
    one, two = (
        measure("fused", sample, known),
        measure("unfused", known.sample(scores + noise), known),
    )
    best = measure("p_best", known.sample(scores + 0.1 * noise), known)
    yield from variant_rows(one, known)
    yield from comparison_rows(one, two, known)
    yield from share_rows(one, best, known)
    yield from probability_rows("fused", sample, sample, known)[0]
