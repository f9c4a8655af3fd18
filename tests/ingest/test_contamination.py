"""MIMIC-III beside MIMIC-IV: patients of both, whose ids say nothing, stay out of pretraining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from prefect import flow

from tasks import tables
from tasks.ingest.config import GuardConfig, IngestConfig
from tasks.ingest.outcomes.config import MortalityConfig
from tasks.ingest.steps import Ingested, ingest
from tasks.pretrain.corpus import dropped_by, of_notes, patients_of
from tasks.schemas import GUARD_PAIRS, NOTES
from tasks.store import Store
from tasks.synth.synthesize import synthesize

SHARED = 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """MIMIC-IV's 300 patients, and 80 of MIMIC-III of whom 60 are among them under other ids."""
    four, three = tmp_path_factory.mktemp("four"), tmp_path_factory.mktemp("three")
    synthesize(four, patients=300, seed=3, general_characters=10_000)
    synthesize(
        three, patients=80, seed=3, layout="mimic-iii", shared=SHARED, general_characters=10_000
    )
    return four / "mimic", three / "mimic-iii"


def made_of(sources: tuple[Path, Path], guard: GuardConfig) -> Ingested:
    made: list[Ingested] = []
    config = IngestConfig(
        source=sources[0],
        pretraining_sources=(sources[1],),
        include_radiology=False,
        outcomes=(MortalityConfig(),),
        guard=guard,
    )

    @flow(persist_result=False, result_serializer="json")
    def ingesting() -> None:
        made.append(ingest(config))

    ingesting()
    return made[0]


def test_notes_of_held_out_patients_in_another_release_are_found_and_left_out(
    sources: tuple[Path, Path], prefect_store: Store
) -> None:
    made = made_of(sources, GuardConfig())
    assert made.guard is not None
    counts = made.guard.counts
    guard = prefect_store.path("guard", made.guard.key)
    splits = prefect_store.path("splits", made.splits.key)
    pairs = tables.read(guard / "pairs", GUARD_PAIRS)
    across = pairs.filter(pc.not_equal(pairs["release"], pairs["other_release"]))
    held_out = np.isin(across["other_split"].to_pylist(), ["validation", "test"])
    assert set(across["split"].to_pylist()) == {"pretraining"}
    assert held_out.sum() >= 10
    (name,) = made.others
    assert name == "mimic-iii, source 1"
    dropped = dropped_by(guard, name)
    assert dropped is not None
    assert set(dropped.to_pylist()) >= set(across.filter(held_out)["note_id"].to_pylist())
    (notes,) = made.others[name]
    path = prefect_store.path("notes", notes.key)
    every, kept = (len(list(of_notes([path], None, each))) for each in (None, dropped))
    assert every - kept == len(dropped) > 0
    assert counts["test_characters_seen_unguarded"] > 0 == counts["test_characters_seen"]
    # the notes of MIMIC-IV's own training patients stay
    own_path = prefect_store.path("notes", made.discharge.key)
    train = patients_of(splits, "train")
    kept_own = len(list(of_notes([own_path], train, dropped_by(guard, "source"))))
    of_train = pc.is_in(
        tables.read(own_path / "notes", NOTES, ["subject_id"])["subject_id"], pa.array(train)
    )
    assert kept_own == pc.sum(of_train).as_py()


def test_without_the_guard_the_report_cannot_say(
    sources: tuple[Path, Path], prefect_store: Store
) -> None:
    assert made_of(sources, GuardConfig(mode="off")).guard is None
    reported = made_of(sources, GuardConfig(mode="report"))
    assert reported.guard is not None
    counts = reported.guard.counts
    assert counts["dropped"] == 0
    assert counts["test_characters_seen"] == counts["test_characters_seen_unguarded"] > 0
