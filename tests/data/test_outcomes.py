"""What is known of an admission, and which admissions are learned from."""

from __future__ import annotations

import numpy as np
import pytest

from tasks import schemas, tables
from tasks.data.notes import Notes
from tasks.data.outcomes import read_outcome, split_rows, training_rows
from tasks.errors import TrainingError
from tests.finetune.conftest import HADM_IDS, LABELS, UNCODED, Inputs, system_of


def test_cells_agree_with_the_tables_in_any_order_of_admissions(inputs: Inputs) -> None:
    """Positives and observed cells, rebuilt row by row from the stored tables."""
    hadm_ids = np.array([*reversed(HADM_IDS), 1])  # 1: an admission that the outcome lacks
    outcome = read_outcome("diagnoses", inputs.diagnoses, hadm_ids)
    assert outcome.labels == tuple((system, code) for system, code, _, _ in LABELS)
    stored = {
        row["hadm_id"]: row
        for row in tables.read(inputs.diagnoses / "outcomes", schemas.OUTCOMES).to_pylist()
    }
    rows = np.random.default_rng(0).permutation(len(hadm_ids))
    positives, observed = outcome.positives(rows), outcome.observed(rows)
    for place, row in enumerate(rows):
        known = stored.get(int(hadm_ids[row]))
        assert np.flatnonzero(positives[place]).tolist() == (known["labels"] if known else [])
        system = known["code_system"] if known else None
        assert observed[place].tolist() == [label[0] == system for label in LABELS]
    assert outcome.observed_cells(rows) == observed.sum()
    assert not observed[rows == len(hadm_ids) - 1].any()


def test_the_unknown_train_nothing_and_the_chosen_few_stay_the_same(inputs: Inputs) -> None:
    notes = Notes.read(inputs.encoded, pad=0)
    outcome = read_outcome("diagnoses", inputs.diagnoses, notes.hadm_ids)
    rows = training_rows(notes.hadm_ids, notes.splits, [outcome], None, seed=0)
    chosen = notes.hadm_ids[rows].tolist()
    train = notes.hadm_ids[split_rows(notes.splits, "train")].tolist()
    assert UNCODED in train
    assert sorted(chosen) == sorted(set(train) - {UNCODED})

    few = training_rows(notes.hadm_ids, notes.splits, [outcome], 20, seed=0)
    more = training_rows(notes.hadm_ids, notes.splits, [outcome], 40, seed=0)
    assert len(few) == 20
    assert set(few) < set(more) < set(rows)
    # the same admissions although they come in another order
    order = np.random.default_rng(1).permutation(len(notes.hadm_ids))
    outcome = read_outcome("diagnoses", inputs.diagnoses, notes.hadm_ids[order])
    splits = [notes.splits[row] for row in order]
    again = training_rows(notes.hadm_ids[order], splits, [outcome], 20, seed=0)
    assert set(notes.hadm_ids[order][again]) == set(notes.hadm_ids[few])
    other_seed = training_rows(notes.hadm_ids, notes.splits, [outcome], 20, seed=1)
    assert set(other_seed) != set(few)


def test_few_shots_are_so_many_with_each_label_and_so_many_without(inputs: Inputs) -> None:
    notes = Notes.read(inputs.encoded, pad=0)
    outcomes = [
        read_outcome(name, getattr(inputs, name), notes.hadm_ids)
        for name in ("diagnoses", "mortality", "triage")
    ]

    def drawn(few: int, seed: int = 0) -> list[int]:
        rows = training_rows(
            notes.hadm_ids, notes.splits, outcomes, None, seed, cases_per_label=few
        )
        return rows.tolist()

    every = training_rows(notes.hadm_ids, notes.splits, outcomes, None, 0)
    assert drawn(10**6) == every.tolist()
    assert drawn(3) == sorted(set(drawn(3)))
    assert set(drawn(3)) < set(drawn(6)) < set(every)  # more shots keep those that were there
    assert set(drawn(3)) != set(drawn(3, seed=1))
    rows = np.array(drawn(3))
    assert len(rows) <= 2 * 3 * sum(len(outcome.labels) for outcome in outcomes)
    for outcome in outcomes:
        has, known = outcome.positives(rows), outcome.observed(rows)
        assert (has & known).sum(axis=0).min() >= 3
        assert (~has & known).sum(axis=0).min() >= 3
    alone = training_rows(notes.hadm_ids, notes.splits, outcomes[1:2], None, 0, cases_per_label=3)
    assert len(alone) == 6  # three who died, three who did not
    assert outcomes[1].positives(alone).sum() == 3


def test_each_code_system_is_known_of_its_own_admissions_only(inputs: Inputs) -> None:
    hadm_ids = np.array(HADM_IDS)
    outcome = read_outcome("diagnoses", inputs.diagnoses, hadm_ids)
    observed = outcome.observed(np.arange(len(hadm_ids)))
    for row, hadm_id in enumerate(HADM_IDS):
        systems = {LABELS[label][0] for label in np.flatnonzero(observed[row])}
        assert systems == ({system_of(hadm_id)} - {None})


def test_nothing_to_learn_from_is_said_plainly(inputs: Inputs) -> None:
    notes = Notes.read(inputs.encoded, pad=0)
    outcome = read_outcome("diagnoses", inputs.diagnoses, notes.hadm_ids)
    with pytest.raises(TrainingError, match="no training admission has a known outcome"):
        training_rows(notes.hadm_ids, ["test"] * len(notes.hadm_ids), [outcome], None, seed=0)
