"""Subgroups: what is compared, what the largest gap is called, and what is kept back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tasks.evaluate.known import Known
from tasks.evaluate.subgroups import groups_of, subgroup_rows
from tasks.measures.auroc import label_aurocs
from tasks.measures.intervals import difference
from tasks.measures.sample import Sample

RACES = ("ASIAN", "BLACK", "WHITE")


def test_the_largest_gap_is_of_the_labels_that_both_groups_have() -> None:
    known, scores = _made_up()
    rows = _rows(scores, known)
    gap = rows["auroc_macro_gap", "race"]
    assert "WHITE minus ASIAN; 8 labels; chosen after looking at 3 pairs" in gap["method"]
    race = np.array(known.admissions["race"].to_pylist())
    estimates = []
    for name in ("WHITE", "ASIAN"):
        there = race == name
        owners = np.unique(known.patients[there], return_inverse=True)[1]
        found = label_aurocs(
            Sample.of(scores[there, :8], known.cases[there, :8], known.observed[there, :8], owners)
        ).macro()
        influence = np.zeros(len(race))
        influence[there] = found.influence
        estimates.append(replace(found, influence=influence))
    expected = difference(*estimates, known.patients)
    assert gap["value"] == pytest.approx(expected.value, abs=1e-12)
    assert (gap["low"], gap["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert gap["value"] > 0.1
    assert (gap["n"], gap["n_patients"]) == (len(race), known.patients.max() + 1)
    alone = rows["auroc_macro_gap_p_unadjusted", "race"]["value"]
    assert alone == pytest.approx(expected.p_value, rel=1e-9)
    assert alone < rows["auroc_macro_gap_p", "race"]["value"] <= 3 * alone


def test_a_group_counts_the_labels_that_ten_of_its_patients_have() -> None:
    known, scores = _made_up()
    rows = _rows(scores, known)
    assert rows["labels_defined", "race=WHITE"]["value"] == 9  # the tenth has four cases
    assert rows["labels_defined", "race=ASIAN"]["value"] == 8  # and the ninth none of ASIAN
    assert "labels of 10 patients or more" in rows["auroc_macro", "race=ASIAN"]["method"]
    within = [row for (metric, _), row in rows.items() if metric == "auroc_macro"]
    assert all(0 < row["low"] < row["value"] < row["high"] < 1 for row in within)


def test_two_groups_and_one_label_leave_nothing_to_choose() -> None:
    known, scores = _made_up()
    rows = _rows(scores[:, [0]], _columns(known, [0]))
    assert "; 1 label; the only pair; " in rows["auroc_macro_gap", "sex"]["method"]
    alone = rows["auroc_macro_gap_p_unadjusted", "sex"]["value"]
    assert rows["auroc_macro_gap_p", "sex"]["value"] == alone


def test_a_pair_that_shares_few_labels_is_not_the_largest_gap_by_chance() -> None:
    known, scores = _made_up()
    race = np.array(known.admissions["race"].to_pylist())
    cases = known.cases.copy()
    cases[race == "ASIAN", 3:] = False  # three labels are left of the nine
    rows = _rows(scores, replace(known, cases=cases))
    gap = rows["auroc_macro_gap", "race"]["method"]
    assert gap.startswith("WHITE minus BLACK; 9 labels; the only pair")


def test_too_few_cases_withhold_the_auroc() -> None:
    known, scores = _made_up()
    one = _columns(known, [9])  # four cases
    rows = _rows(scores[:, [9]], one)
    assert np.isnan(rows["auroc_macro", "sex=F"]["value"])
    assert np.isnan(rows["auroc_macro_gap", "sex"]["value"])
    assert ("auroc_macro_gap_p", "sex") not in rows


def test_a_patient_in_two_groups_is_one_patient() -> None:
    """Each patient is admitted twice, in two age bands, with the same scores and outcomes."""
    known, scores = _made_up()
    half = len(scores) // 2
    twice = np.concatenate([np.arange(half), np.arange(half)])
    ages = pa.array(np.repeat([30, 70], half).astype(np.int32))
    admissions = known.admissions.take(twice)
    place = admissions.schema.get_field_index("age")
    both = replace(
        known,
        patients=twice,
        cases=known.cases[twice],
        observed=known.observed[twice],
        admissions=admissions.set_column(place, "age", ages),
    )
    gap = _rows(scores[twice], both)["auroc_macro_gap", "age"]
    assert gap["value"] == pytest.approx(0, abs=1e-12)
    assert gap["high"] - gap["low"] < 1e-9, "what both bands share cancels"


def test_a_column_of_one_group_is_left_out() -> None:
    known, scores = _made_up()
    assert not any(group.startswith("language") for _, group in _rows(scores, known))


def test_a_group_called_other_takes_the_small_ones_in() -> None:
    column = pa.chunked_array([["A"] * 30 + ["OTHER"] * 20 + ["B"] * 4 + ["C"] * 7])
    groups = groups_of(column, "race", np.arange(61), 10)
    assert set(groups) == {"A", "other"}
    whole = groups_of(pa.chunked_array([["A"] * 30 + ["Other"] * 20]), "race", np.arange(50), 10)
    assert set(whole) == {"A", "Other"}


def _rows(scores: np.ndarray, known: Known) -> dict[tuple[str, str], dict]:
    rows = list(subgroup_rows("fused", known.sample(scores), known, 10))
    found = {(row["metric"], row["group"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def _made_up() -> tuple[Known, np.ndarray]:
    """Ten labels of 900 admissions; the scores of ASIAN are mostly noise."""
    random = np.random.default_rng(4)
    race = np.repeat(RACES, [200, 200, 500])
    signal = random.normal(size=(900, 10))
    cases = signal + random.normal(size=(900, 10)) > 1.2
    cases[race == "ASIAN", 8] = False
    cases[:, 9] = False
    cases[-4:, 9] = True
    noise = np.where(race == "ASIAN", 4.0, np.where(race == "BLACK", 1.0, 0.5))
    scores = (signal + noise[:, None] * random.normal(size=(900, 10))).astype(np.float32)
    columns = {
        "sex": random.choice(["F", "M"], 900),
        "age": random.integers(20, 90, 900).astype(np.int32),
        "race": race,
        "insurance": ["Medicare"] * 900,
        "language": pa.nulls(900, pa.string()),
        "admission_type": random.choice(["URGENT", "ELECTIVE"], 900),
    }
    known = Known(
        outcome="diagnoses",
        hadm_id=np.arange(900),
        patients=np.unique(random.integers(0, 600, 900), return_inverse=True)[1],
        cases=cases,
        observed=np.ones((900, 10), bool),
        code_systems=("icd10cm",),
        group=np.zeros(10, np.int64),
        codes=tuple(f"C{label}" for label in range(10)),
        train=np.full(10, 50),
        admissions=pa.table(columns),
    )
    return known, scores


def _columns(known: Known, labels: list[int]) -> Known:
    return replace(
        known,
        cases=known.cases[:, labels],
        observed=known.observed[:, labels],
        group=known.group[labels],
        codes=tuple(known.codes[label] for label in labels),
        train=known.train[labels],
    )
