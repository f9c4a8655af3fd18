"""A collapse is told from the noise of a small validation set."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.data.notes import Notes
from tasks.data.outcomes import Outcome, read_outcome, split_rows
from tasks.errors import TrainingError
from tasks.finetune.collapse import check_collapse, spread_by_chance
from tasks.measures.ranking import macro_auroc
from tests.finetune.conftest import Inputs, config


def check(values: list[float], spread: float, last: bool, below: float = 0.55) -> str | None:
    return check_collapse("fused", values, config(collapse_below=below), lambda: spread, last=last)


def test_a_fall_back_to_chance_is_a_collapse_and_a_dip_is_not() -> None:
    assert check([0.6, 0.8, 0.75], 0.01, last=True) is None
    assert check([0.51], 0.01, last=False) is None  # not learned yet
    assert check([0.56, 0.49], 0.01, last=False) is None  # nor here: noise
    with pytest.raises(TrainingError, match=r"0\.520 after epoch 3, at best 0\.800"):
        check([0.6, 0.8, 0.52], 0.01, last=False)
    assert check([0.6, 0.8, 0.5], 0.01, last=True, below=0) is None


def test_to_have_learned_nothing_is_a_collapse_where_learning_would_have_shown() -> None:
    with pytest.raises(TrainingError, match=r"collapsed.*give or take 0\.010"):
        check([0.51, 0.52], 0.005, last=True)
    warning = check([0.51, 0.52], 0.05, last=True)
    assert warning
    assert "may have learned nothing" in warning
    assert "give or take 0.098" in warning
    assert check([0.51, 0.56], 0.05, last=True) is None


def test_a_fall_within_chances_own_spread_is_a_warning() -> None:
    warning = check([0.62, 0.52], 0.05, last=False)
    assert warning
    assert "may have learned nothing" in warning
    with pytest.raises(TrainingError):
        check([0.62, 0.52], 0.03, last=False)


def test_the_spread_is_asked_for_only_where_it_matters() -> None:
    def never() -> float:
        raise AssertionError

    assert check_collapse("fused", [0.7, 0.8], config(), never, last=True) is None


def one_label(cases: int, controls: int) -> Outcome:
    rows = cases + controls
    return Outcome(
        name="one",
        labels=(("system", "code"),),
        titles=(None,),
        label_system=np.zeros(1, np.int64),
        admission_system=np.zeros(rows, np.int64),
        offsets=np.minimum(np.arange(rows + 1), cases),
        values=np.zeros(cases, np.int64),
    )


@pytest.mark.parametrize(("cases", "controls"), [(1, 40), (10, 10), (5, 200)])
def test_the_spread_of_a_label_is_the_published_one(cases: int, controls: int) -> None:
    """Mann and Whitney 1947: the variance of AUROC at chance is (n1 + n0 + 1) / (12 n1 n0)."""
    rows = np.arange(cases + controls)
    expected = np.sqrt((cases + controls + 1) / (12 * cases * controls))
    assert spread_by_chance([one_label(cases, controls)], rows) == pytest.approx(expected, rel=0.3)


def test_the_spread_of_several_outcomes_is_that_of_a_shared_random_score(inputs: Inputs) -> None:
    notes = Notes.read(inputs.encoded, pad=0)
    rows = split_rows(notes.splits, "validation")
    outcomes = [
        read_outcome(name, getattr(inputs, name), notes.hadm_ids)
        for name in ("diagnoses", "mortality")
    ]
    draw = np.random.default_rng(1)
    means = []
    for _ in range(400):
        score = draw.random(len(rows))
        found = [
            macro_auroc(
                np.repeat(score[:, None], len(each.labels), axis=1),
                each.positives(rows),
                each.observed(rows),
            )
            for each in outcomes
        ]
        means.append(np.mean(found))
    assert spread_by_chance(outcomes, rows) == pytest.approx(np.std(means), rel=0.3)
