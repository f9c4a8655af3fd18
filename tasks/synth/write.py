"""Writes a synthetic MIMIC-IV: the source folder, the truth beside it, and a general corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks import schemas, tables
from tasks.synth import hospital, truth
from tasks.synth.catalog import load
from tasks.synth.difficulty import Difficulty
from tasks.synth.facts import Tally
from tasks.synth.general import general_corpus
from tasks.synth.population import World, chunks
from tasks.synth.source import write_chunk

VERSION = 1  # of the generator: the same version, patients and seed give the same bytes


@dataclass(frozen=True)
class SynthSummary:
    """What was written where."""

    folder: Path
    source: Path  # the MIMIC-IV folder
    truth: Path
    general: Path
    facts: Path
    rows: dict[str, int]  # of each table


def synthesize(
    folder: Path,
    *,
    patients: int = 7000,
    seed: int = 7,
    difficulty: Difficulty | None = None,
    general_characters: int = 600_000,
    chunk_patients: int = 1000,
    leaks: bool = True,
) -> SynthSummary:
    """Write folder/mimic, folder/truth.parquet, folder/general.txt and folder/synth.json.

    Memory does not grow with the number of patients; a patient's content depends on the seed and
    on the patient's place alone. Without `leaks` the later sections of a note tell of another
    patient's stay, so that they say nothing of the note's own outcomes.
    """
    knobs = difficulty or Difficulty()
    world = World.of(load(), knobs)
    tally = Tally(world)
    source, truth_file = folder / "mimic", folder / "truth.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with hospital.Tables(source) as out:
        for name, rows in hospital.dictionaries(world.catalog).items():
            out.add(name, rows)
        stream = _written(out, tally, world, seed, patients, chunk_patients, leaks)
        written = tables.write(truth_file, schemas.TRUTH, stream)
        counts = {**out.rows, "truth": written}
    general = write_general(folder, seed=seed, characters=general_characters)
    facts = folder / "synth.json"
    about = {"version": VERSION, "patients": patients, "seed": seed, "rows": counts}
    about |= {"difficulty": knobs.model_dump(mode="json"), "measured": tally.facts()}
    facts.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return SynthSummary(folder, source, truth_file, general, facts, counts)


def write_general(folder: Path, *, seed: int = 7, characters: int = 600_000) -> Path:
    """Write folder/general.txt: plain English without clinical notes, for a base from nothing."""
    path = folder / "general.txt"
    path.write_text(general_corpus(load(), seed, characters), encoding="utf-8")
    return path


def _written(
    out: hospital.Tables,
    tally: Tally,
    world: World,
    seed: int,
    patients: int,
    chunk_patients: int,
    leaks: bool,
) -> Iterator[pa.Table]:
    """Write the source rows of each chunk as it passes; yield its truth."""
    for chunk in chunks(world, seed, patients, chunk_patients):
        write_chunk(out, world, seed, chunk, leaks)
        tally.add(chunk)
        noted = chunk.stays.noted
        for space, rows, _, full, best in chunk.labels:
            codes = [label.code for label in space.labels]
            told = noted[rows]  # without a note there is no evidence
            ids = chunk.stays.hadm_id[rows[told]]
            yield truth.rows(ids, space.outcome, space.system, codes, full[told], best[told])
        ids = chunk.stays.hadm_id[noted]
        full, best = chunk.death_full[noted, None], chunk.death_best[noted, None]
        yield truth.rows(ids, "mortality", "mortality", ["died"], full, best)
