"""Generates the population chunk by chunk: latent state, evidence, prose, codes, truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.patients import split_of
from tasks.synth import draws, label_spaces, lengths, truth, ventilation
from tasks.synth.catalog import SEXES, Catalog
from tasks.synth.difficulty import Difficulty
from tasks.synth.evidence import Channel, Evidence, Mention, build_channel, draw_evidence
from tasks.synth.label_spaces import LabelSpace
from tasks.synth.latent import (
    Admissions,
    Floats,
    Ints,
    Patients,
    Prior,
    draw_admissions,
    draw_patients,
    prior,
)
from tasks.synth.notes import AdmissionSections, Symbols, admission_sections
from tasks.synth.release import MIMIC_IV, Patientele
from tasks.synth.stays import Stays, draw_stays

SPLIT_KEY, VALIDATION_SHARE, TEST_SHARE = "clinfuse", 0.1, 0.2  # ingest's defaults


@dataclass(frozen=True)
class World:
    """All that is fixed before the first patient."""

    catalog: Catalog
    difficulty: Difficulty
    prior: Prior
    channel: Channel
    spaces: tuple[LabelSpace, ...]

    @classmethod
    def of(cls, catalog: Catalog, difficulty: Difficulty) -> World:
        """Build the tables of probabilities."""
        world = prior(catalog, difficulty)
        channel = build_channel(catalog, world, difficulty)
        return cls(
            catalog, difficulty, world, channel, label_spaces.label_spaces(catalog, difficulty)
        )


class SpaceOutcome(NamedTuple):
    """One label space over the admissions of a chunk that are coded in it."""

    space: LabelSpace
    rows: Ints  # admissions of the chunk
    drawn: NDArray[np.bool_]  # [rows, labels], what was coded
    full: Floats  # [rows, labels], P(label | conditions)
    best: Floats  # [rows, labels], P(label | evidence)


@dataclass(frozen=True)
class Chunk:
    """Some consecutive patients, with all that is known about them."""

    patients: Patients
    admissions: Admissions
    evidence: Evidence
    stays: Stays
    split: list[str]  # [patients]
    sections: list[AdmissionSections]  # [admissions]
    labels: list[SpaceOutcome]
    death_full: Floats  # [admissions]
    death_best: Floats  # [admissions]
    length_full: Floats  # [admissions, classes], if discharged alive
    length_best: Floats  # [admissions, classes]
    prolonged_full: Floats  # [admissions], if ventilated for COHORT_DAYS
    prolonged_best: Floats  # [admissions]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Admissions that have both a note and codes."""
        return self.stays.noted & self.stays.coded


def chunks(
    world: World, seed: int, source: Patientele | int, chunk_patients: int = 1000
) -> Iterator[Chunk]:
    """Generate the source's patients in order; a number stands for that many of MIMIC-IV's."""
    if isinstance(source, int):
        source = Patientele(MIMIC_IV, source)
    for start in range(0, source.patients, chunk_patients):
        position = np.arange(start, min(start + chunk_patients, source.patients))
        yield _chunk(world, seed, source, position)


def _chunk(world: World, seed: int, source: Patientele, position: Ints) -> Chunk:
    catalog, knobs = world.catalog, world.difficulty
    patients = draw_patients(seed, source.index(seed, position), world.prior, knobs)
    admissions = draw_admissions(seed, patients, world.prior)
    evidence = draw_evidence(seed, admissions, world.channel)
    stays = draw_stays(seed, source, position, patients, admissions, catalog, knobs)
    writing_split = _split(source.written_for(seed, position))
    best = _best(world, admissions, evidence)
    return Chunk(
        patients=patients,
        admissions=admissions,
        evidence=evidence,
        stays=stays,
        split=_split(stays.subject_id),
        sections=_sections(world, seed, admissions, evidence, writing_split),
        labels=_labels(world, seed, admissions, stays, best.spaces),
        death_full=truth.full_of_death(admissions, catalog, knobs),
        death_best=best.death,
        length_full=lengths.full_of_length(admissions, catalog),
        length_best=best.length,
        prolonged_full=ventilation.full_of_prolonged(admissions),
        prolonged_best=best.prolonged,
    )


def _split(subject_ids: Ints) -> list[str]:
    return split_of(
        subject_ids.tolist(), key=SPLIT_KEY, validation=VALIDATION_SHARE, test=TEST_SHARE
    )


class _Best(NamedTuple):
    """The best prediction of every outcome; the rows are admissions."""

    spaces: list[Floats]  # of each label space, [admissions, labels]
    death: Floats
    length: Floats
    prolonged: Floats


def _best(world: World, admissions: Admissions, evidence: Evidence) -> _Best:
    count, catalog, knobs = len(admissions), world.catalog, world.difficulty
    best = _Best(
        [np.zeros((count, len(space.labels))) for space in world.spaces],
        np.zeros(count),
        np.zeros((count, len(lengths.CLASSES))),
        np.zeros(count),
    )
    for sex in range(len(SEXES)):
        rows = np.flatnonzero(admissions.sex == sex)
        known = truth.posterior(world.prior, world.channel, evidence, sex, rows)
        best.death[rows] = truth.best_of_death(known, catalog, knobs)
        best.length[rows] = lengths.best_of_length(known, catalog, knobs)
        best.prolonged[rows] = ventilation.best_of_prolonged(known, catalog)
        for space, table in zip(world.spaces, best.spaces, strict=True):
            for column, label in enumerate(space.labels):
                miscoded = float(space.miscoded[column])
                table[rows, column] = truth.best_of_label(known, label, miscoded)
    return best


def _labels(
    world: World, seed: int, admissions: Admissions, stays: Stays, best: list[Floats]
) -> list[SpaceOutcome]:
    """Draw the labels of the admissions that are coded in each space."""
    labels = []
    for space, table in zip(world.spaces, best, strict=True):
        rows = np.flatnonzero((stays.version == space.version) & stays.coded)
        drawn = label_spaces.draw_labels(seed, space, admissions, rows)
        full = label_spaces.full(space, admissions.present[rows])
        labels.append(SpaceOutcome(space, rows, drawn, full, table[rows]))
    return labels


def _sections(
    world: World, seed: int, admissions: Admissions, evidence: Evidence, split: list[str]
) -> list[AdmissionSections]:
    """Write the admission sections of each admission."""
    sources = draws.sources(seed, "sections", admissions.key)
    sexes = ("woman", "man")
    cues = zip(*(cue.tolist() for cue in evidence.cues()), strict=True)
    written = []
    for row, (draw, cue) in enumerate(zip(sources, cues, strict=True)):
        mentioned = np.flatnonzero(evidence.mentions[row])
        mentions = [(int(c), Mention(int(evidence.mentions[row, c]))) for c in mentioned]
        training = split[admissions.patient[row]] == "train"
        held_out = 0.0 if training else world.difficulty.held_out_share
        sex = sexes[admissions.sex[row]]
        written.append(
            admission_sections(world.catalog, Symbols(mentions, *cue), sex, held_out, draw)
        )
    return written
