"""A drift of inputs or scores is told, and none where new notes are as those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.measures.stability import counts_in, edges_of, stability
from tasks.score import run
from tasks.score.config import DriftConfig
from tasks.score.drift import Drift, drifts
from tasks.score.member import ScoredMember
from tests.finetune.test_train import one_rank
from tests.score.conftest import Members
from tests.score.test_ledger import scored as scored


def test_the_index_by_hand() -> None:
    """p = (.5, .5) and q = (.1, .9), but for the counts that keep it finite."""
    found = stability(np.array([5000, 5000]), np.array([1000, 9000]))
    expected = (0.1 - 0.5) * np.log(0.1 / 0.5) + (0.9 - 0.5) * np.log(0.9 / 0.5)
    assert abs(found.psi - expected) < 1e-3
    nothing = stability(np.array([6000, 0]), np.array([80, 0]))
    assert nothing.psi < 1e-3


def test_by_chance_it_rarely_exceeds_what_chance_explains() -> None:
    """Of draws from one distribution one in a hundred does."""
    draw = np.random.default_rng(0)
    reference = draw.normal(size=5000)
    edges = edges_of(reference)
    found = [
        stability(counts_in(edges, reference), counts_in(edges, draw.normal(size=60)))
        for _ in range(400)
    ]
    above = sum(each.psi > each.chance for each in found)
    assert above < 16
    assert sum(each.psi > 0.25 for each in found) > above  # a bare bound would call out more often


def test_other_notes_drift_and_the_same_do_not(scored: Members, tmp_path: Path) -> None:
    key = scored.keys["died"]
    member = ScoredMember.read(scored.store, key)
    config = DriftConfig()

    def found(name: str, arrivals: pa.Table) -> dict[str, Drift]:
        job = scored.job(tmp_path / name, arrivals, "died")
        run.main(job, one_rank(tmp_path / name / "run"))
        told = drifts(scored.store.root, [member], job.references, config)
        return {drift.what: drift for drift in told}

    assert drifts(scored.store.root, [member], {}, config) == []
    same = found("same", scored.notes("test"))
    assert {"words", "probability of mortality, died"} <= same.keys()
    assert not any(drift.moved for drift in same.values())
    short = scored.notes("test")
    notes = pa.array(["collapse"] * len(short), pa.large_string())
    others = short.set_column(short.schema.get_field_index("note"), "note", notes)
    moved = found("others", others)
    assert moved["words"].moved
    assert moved["probability of mortality, died"].moved
    words = str([drift.row for drift in moved.values()])
    assert "collapse" not in words
