"""Writes a synthetic MIMIC: the source folder, the truth about it, and a general corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks import schemas, tables
from tasks.errors import ConfigError
from tasks.synth import hospital, lengths, truth, ventilation
from tasks.synth.catalog import load
from tasks.synth.chunk_rows import write_chunk
from tasks.synth.difficulty import Difficulty
from tasks.synth.general import general_corpus
from tasks.synth.population import Chunk, World, chunks
from tasks.synth.release import MIMIC_III, MIMIC_IV, RELEASES, Patientele, Release
from tasks.synth.tally import Tally
from tasks.synth.to_mimic_iii import MimicThree

VERSION = 2  # of the generator: the same version, patients and seed give the same bytes


@dataclass(frozen=True)
class SynthSummary:
    """What was written where."""

    folder: Path
    source: Path  # the folder of MIMIC's tables
    truth: Path
    general: Path
    facts: Path
    rows: dict[str, int]  # of each table


def synthesize(
    folder: Path,
    *,
    patients: int = 7000,
    seed: int = 7,
    layout: str = MIMIC_IV.name,
    shared: int = 0,
    difficulty: Difficulty | None = None,
    general_characters: int = 600_000,
    chunk_patients: int = 1000,
    leaks: bool = True,
) -> SynthSummary:
    """Write folder/mimic (or folder/mimic-iii), truth.parquet, general.txt and synth.json.

    Memory does not grow with the number of patients; a patient's content depends on the seed and
    the patient's position alone. The first `shared` patients of a MIMIC-III source are also in the
    MIMIC-IV source of that seed, under other ids and dates. Without `leaks` the later sections of
    a note describe another patient's stay, so that they say nothing about the note's outcomes.
    """
    knobs = difficulty or Difficulty()
    population = Patientele(RELEASES[layout], patients, shared)
    _refuse_another(folder, population.release)
    world = World.of(load(), knobs)
    tally = Tally(world)
    source, truth_file = folder / population.release.folder, folder / "truth.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with _tables(source, population, seed) as out:
        for name, rows in hospital.dictionaries(world.catalog).items():
            out.add(name, rows)

        def truth_tables() -> Iterator[pa.Table]:
            for chunk in chunks(world, seed, population, chunk_patients):
                write_chunk(out, world, seed, chunk, leaks)
                tally.add(chunk)
                yield from _truth(chunk)

        written = tables.write(truth_file, schemas.TRUTH, truth_tables())
        counts = {**out.rows, "truth": written}
    general = write_general(folder, seed=seed, characters=general_characters)
    facts = folder / "synth.json"
    about = {"version": VERSION, "patients": patients, "seed": seed, "rows": counts}
    about |= {"layout": layout, "shared": population.shared}
    about |= {"difficulty": knobs.model_dump(mode="json"), "measured": tally.facts()}
    facts.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return SynthSummary(folder, source, truth_file, general, facts, counts)


def write_general(folder: Path, *, seed: int = 7, characters: int = 600_000) -> Path:
    """Write folder/general.txt: plain English without clinical notes, for a base from scratch."""
    path = folder / "general.txt"
    path.write_text(general_corpus(load(), seed, characters), encoding="utf-8")
    return path


def _tables(source: Path, population: Patientele, seed: int) -> hospital.Tables | MimicThree:
    if population.release is MIMIC_III:
        return MimicThree(source, seed, population.shared)
    return hospital.Tables(source)


def _refuse_another(folder: Path, release: Release) -> None:
    for other in RELEASES.values():
        if other is not release and (folder / other.folder).exists():
            raise ConfigError(
                f"{folder} has the source and the truth of {other.name}; write {release.name} "
                "into a folder of its own"
            )


def _truth(chunk: Chunk) -> Iterator[pa.Table]:
    """The truth of a chunk's admissions; without a note there is no evidence."""
    stays = chunk.stays
    for space, rows, _, full, best in chunk.labels:
        codes, noted = [label.code for label in space.labels], stays.noted[rows]
        ids = stays.hadm_id[rows[noted]]
        yield truth.rows(ids, space.outcome, space.system, codes, full[noted], best[noted])
    alive, asked = stays.noted & ~stays.died, stays.noted & stays.long_enough
    ventilated = ventilation.OUTCOME, [ventilation.PROLONGED]
    for outcome, codes, known, full, best in (
        ("mortality", ["died"], stays.noted, chunk.death_full, chunk.death_best),
        (lengths.OUTCOME, [*lengths.CLASSES], alive, chunk.length_full, chunk.length_best),
        (*ventilated, asked, chunk.prolonged_full, chunk.prolonged_best),
    ):
        rows_full, rows_best = (p[known].reshape(-1, len(codes)) for p in (full, best))
        yield truth.rows(stays.hadm_id[known], outcome, outcome, codes, rows_full, rows_best)
