"""The order of training: every admission once an epoch, by the seed and the step alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.notes import Notes
from tasks.data.outcomes import read_outcome
from tasks.finetune.plan import Plan
from tests.finetune.conftest import Inputs


def plan(rows: int, batch_size: int, parts: int, seed: int = 0) -> Plan:
    lengths = np.random.default_rng(9).integers(1, 200, rows)
    return Plan(np.arange(rows), lengths, (), batch_size, epochs=2, seed=seed, parts=parts)


@given(rows=st.integers(1, 60), batch_size=st.integers(1, 16), parts=st.integers(1, 5))
def test_an_epoch_reads_every_admission_once(rows: int, batch_size: int, parts: int) -> None:
    found = plan(rows, batch_size, parts)
    for epoch in range(2):
        steps = range(epoch * found.steps_per_epoch, (epoch + 1) * found.steps_per_epoch)
        batches = [found.batch(step) for step in steps]
        read = np.concatenate([micro for batch in batches for micro in batch.micro])
        assert sorted(read) == list(range(rows))
        assert sum(batch.examples for batch in batches) == rows
        assert all(len(micro) for batch in batches for micro in batch.micro)
    assert found.batch(found.steps - 1).epoch == pytest.approx(2)


def test_a_step_does_not_depend_on_the_steps_before_it() -> None:
    """So that a resumed run reads what an uninterrupted one would have read."""
    whole, resumed = plan(50, 8, 2), plan(50, 8, 2)
    batches = [whole.batch(step) for step in range(whole.steps)]
    late = resumed.batch(whole.steps - 2)
    for expected, found in zip(batches[-2].micro, late.micro, strict=True):
        assert expected.tolist() == found.tolist()


def test_the_cut_into_ranks_does_not_change_a_batch_and_the_seed_does() -> None:
    one, two = plan(50, 8, 1), plan(50, 8, 2)
    for step in range(one.steps):
        members = [set(np.concatenate(each.batch(step).micro)) for each in (one, two)]
        assert members[0] == members[1]
    other = plan(50, 8, 1, seed=1)
    assert one.batch(0).micro[0].tolist() != other.batch(0).micro[0].tolist()
    assert one.batch(0).micro[0].tolist() != one.batch(one.steps_per_epoch).micro[0].tolist()


def test_a_batch_weighs_its_known_cells(inputs: Inputs) -> None:
    notes = Notes.read(inputs.encoded, pad=0)
    outcome = read_outcome("diagnoses", inputs.diagnoses, notes.hadm_ids)
    rows = np.arange(len(notes.hadm_ids))
    found = Plan(rows, notes.lengths, [outcome], 16, 1, 0, 1)
    weights = [found.batch(step).weight for step in range(found.steps)]
    assert sum(weights) == outcome.observed(rows).sum()


def test_notes_are_padded_on_the_right_and_an_empty_one_is_one_token() -> None:
    notes = Notes(
        hadm_ids=np.array([1, 2, 3]),
        splits=("train",) * 3,
        offsets=np.array([0, 2, 2, 5]),
        tokens=np.array([7, 8, 4, 5, 6], np.int32),
        pad=9,
    )
    ids, present = notes.padded(np.array([2, 0, 1]))
    assert ids.tolist() == [[4, 5, 6], [7, 8, 9], [9, 9, 9]]
    assert present.tolist() == [[True] * 3, [True, True, False], [True, False, False]]


@pytest.mark.parametrize(("rows", "passes"), [(8, 50), (80, 5), (400, 2)])
def test_few_admissions_are_read_more_often(rows: int, passes: int) -> None:
    """So that there are as many steps; and are not judged after each pass."""
    lengths = np.ones(rows, np.int64)
    found = Plan(np.arange(rows), lengths, (), 8, epochs=2, seed=0, parts=1, min_steps=50)
    assert found.steps == passes * found.steps_per_epoch
    assert len(found.validated) <= 16
    assert found.validated[-1] == found.steps
    assert all(step % found.steps_per_epoch == 0 for step in found.validated)
