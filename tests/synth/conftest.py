"""The population of the demo's size, generated once, and a small source folder on disk."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ingest.sections import SECTIONS
from tasks.synth.catalog import load
from tasks.synth.difficulty import Difficulty
from tasks.synth.notes import AdmissionSections
from tasks.synth.population import Chunk, SpaceOutcome, World, chunks
from tasks.synth.synthesize import SynthSummary, synthesize

DEMO_PATIENTS, DEMO_SEED = 7000, 2026


@dataclass(frozen=True)
class LabelTable:
    """One label space over the admissions coded in it, restricted to usable labels."""

    system: str
    causes: list[list[int]]  # of each label
    rows: NDArray[np.int64]  # admissions of the population
    drawn: NDArray[np.bool_]  # [rows, labels]
    best: NDArray[np.float64]  # [rows, labels]
    full: NDArray[np.float64]  # [rows, labels]


@dataclass(frozen=True)
class Population:
    """All chunks of the demo's population, end to end."""

    world: World
    parts: list[Chunk]
    split: NDArray[np.str_]  # [admissions]
    patient: NDArray[np.int64]  # [admissions]
    notes: list[str]  # [admissions], admission notes
    mentions: NDArray[np.int8]  # [admissions, conditions]
    cues: NDArray[np.int64]  # [admissions, 5], the cues and the sex
    present: NDArray[np.bool_]  # [admissions, conditions]
    died: NDArray[np.bool_]  # [admissions]
    noted: NDArray[np.bool_]  # [admissions]
    death_best: NDArray[np.float64]  # [admissions]
    tables: dict[str, LabelTable]


@pytest.fixture(scope="session")
def population() -> Population:
    world = World.of(load(), Difficulty())
    parts = list(chunks(world, DEMO_SEED, DEMO_PATIENTS))
    patients = np.cumsum([0, *(len(part.split) for part in parts)])
    split = np.concatenate([np.array(p.split)[p.admissions.patient] for p in parts])
    cues = [np.stack([*p.evidence.cues(), p.admissions.sex], 1) for p in parts]
    owner = [p.admissions.patient + first for p, first in zip(parts, patients, strict=False)]
    return Population(
        world=world,
        parts=parts,
        split=split,
        patient=np.concatenate(owner),
        notes=[admission_note_of(sections) for part in parts for sections in part.sections],
        mentions=np.concatenate([part.evidence.mentions for part in parts]),
        cues=np.concatenate(cues),
        present=np.concatenate([part.admissions.present for part in parts]),
        died=np.concatenate([part.stays.died for part in parts]),
        noted=np.concatenate([part.stays.noted for part in parts]),
        death_best=np.concatenate([part.death_best for part in parts]),
        tables=_tables(world, parts, split),
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SynthSummary:
    return synthesize(tmp_path_factory.mktemp("synth"), patients=400, seed=3, chunk_patients=150)


def admission_note_of(sections: AdmissionSections) -> str:
    """The sections under their headings, as in an admission note."""
    named = zip(SECTIONS, astuple(sections), strict=True)
    return "\n\n".join(f"{name}: {' '.join(text.split())}" for name, text in named)


def lines_of(path: Path) -> list[dict[str, str]]:
    """The rows of a gzipped CSV."""
    import csv
    import gzip

    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tables(
    world: World, parts: list[Chunk], split: NDArray[np.str_], min_count: int = 10
) -> dict[str, LabelTable]:
    first = np.cumsum([0, *(len(part.admissions) for part in parts)])
    tables = {}
    for index, space in enumerate(world.spaces):
        noted_parts = [_noted(part, part.labels[index]) for part in parts]
        rows = np.concatenate([f.rows + at for f, at in zip(noted_parts, first, strict=False)])
        drawn = np.concatenate([f.drawn for f in noted_parts])
        kept = np.flatnonzero(drawn[split[rows] == "train"].sum(0) >= min_count)
        tables[space.system] = LabelTable(
            system=space.system,
            causes=[[condition for condition, _ in space.labels[k].causes] for k in kept],
            rows=rows,
            drawn=drawn[:, kept],
            best=np.concatenate([f.best for f in noted_parts])[:, kept],
            full=np.concatenate([f.full for f in noted_parts])[:, kept],
        )
    return tables


def _noted(part: Chunk, outcome: SpaceOutcome) -> SpaceOutcome:
    """The outcome over the admissions that have a note."""
    noted = part.stays.noted[outcome.rows]
    space, *tables = outcome
    return SpaceOutcome(space, *(table[noted] for table in tables))
