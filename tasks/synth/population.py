"""Generates the population chunk by chunk: latent state, evidence, prose, codes, truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.patients import split_of
from tasks.synth import coding, draws, truth
from tasks.synth.catalog import SEXES, VENTILATION, Catalog
from tasks.synth.coding import LabelSpace
from tasks.synth.difficulty import Difficulty
from tasks.synth.evidence import Channel, Evidence, Said, channel, draw_evidence
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
from tasks.synth.notes import AdmissionSections, Told, admission_sections
from tasks.synth.stays import Stays, draw_stays, subject_ids

SPLIT_KEY, VALIDATION_SHARE, TEST_SHARE = "clinfuse", 0.1, 0.2  # ingest's defaults


@dataclass(frozen=True)
class World:
    """Everything that is fixed before the first patient."""

    catalog: Catalog
    difficulty: Difficulty
    prior: Prior
    channel: Channel
    spaces: tuple[LabelSpace, ...]

    @classmethod
    def of(cls, catalog: Catalog, difficulty: Difficulty) -> World:
        """Build the tables of probabilities."""
        world = prior(catalog, difficulty)
        told = channel(catalog, world, difficulty)
        return cls(catalog, difficulty, world, told, coding.label_spaces(catalog, difficulty))


class SpaceOutcome(NamedTuple):
    """One label space over the admissions of a chunk that are coded in it."""

    space: LabelSpace
    rows: Ints  # admissions of the chunk
    drawn: NDArray[np.bool_]  # [rows, labels], what was coded
    full: Floats  # [rows, labels], P(label | conditions)
    best: Floats  # [rows, labels], P(label | evidence)


@dataclass(frozen=True)
class Chunk:
    """Some consecutive patients, with all that is known of them."""

    patients: Patients
    admissions: Admissions
    evidence: Evidence
    stays: Stays
    split: list[str]  # [patients]
    sections: list[AdmissionSections]  # [admissions]
    labels: list[SpaceOutcome]
    death_full: Floats  # [admissions]
    death_best: Floats  # [admissions]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Admissions that have both a note and codes."""
        return self.stays.noted & self.stays.coded


def chunks(world: World, seed: int, patients: int, chunk_patients: int = 1000) -> Iterator[Chunk]:
    """Generate the population, in order of the patients' index."""
    for start in range(0, patients, chunk_patients):
        index = np.arange(start, min(start + chunk_patients, patients))
        yield _chunk(world, seed, index)


def _chunk(world: World, seed: int, index: Ints) -> Chunk:
    catalog, knobs = world.catalog, world.difficulty
    patients = draw_patients(seed, index, world.prior, knobs)
    admissions = draw_admissions(seed, patients, world.prior)
    evidence = draw_evidence(seed, admissions, world.channel)
    ventilation = _ventilation(world, admissions)
    stays = draw_stays(seed, patients, admissions, catalog, knobs, ventilation)
    split = split_of(
        subject_ids(seed, index).tolist(),
        key=SPLIT_KEY,
        validation=VALIDATION_SHARE,
        test=TEST_SHARE,
    )
    labels, death_best = _outcomes(world, seed, admissions, evidence, stays)
    return Chunk(
        patients=patients,
        admissions=admissions,
        evidence=evidence,
        stays=stays,
        split=split,
        sections=_sections(world, seed, admissions, evidence, split),
        labels=labels,
        death_full=truth.full_of_death(admissions, catalog, knobs),
        death_best=death_best,
    )


def _outcomes(
    world: World, seed: int, admissions: Admissions, evidence: Evidence, stays: Stays
) -> tuple[list[SpaceOutcome], Floats]:
    """Draw the labels, and compute the best prediction of them and of death."""
    best = [np.zeros((len(admissions), len(space.labels))) for space in world.spaces]
    death = np.zeros(len(admissions))
    for sex in range(len(SEXES)):
        rows = np.flatnonzero(admissions.sex == sex)
        known = truth.posterior(world.prior, world.channel, evidence, sex, rows)
        death[rows] = truth.best_of_death(known, world.catalog, world.difficulty)
        for space, table in zip(world.spaces, best, strict=True):
            for place, label in enumerate(space.labels):
                miscoded = float(space.miscoded[place])
                table[rows, place] = truth.best_of_label(known, label, miscoded)
    labels = []
    for space, table in zip(world.spaces, best, strict=True):
        rows = np.flatnonzero((stays.version == space.version) & stays.coded)
        drawn = coding.draw_labels(seed, space, admissions, rows)
        full = coding.full(space, admissions.present[rows])
        labels.append(SpaceOutcome(space, rows, drawn, full, table[rows]))
    return labels, death


def _sections(
    world: World, seed: int, admissions: Admissions, evidence: Evidence, split: list[str]
) -> list[AdmissionSections]:
    """Write the admission sections of each admission."""
    sources = draws.sources(seed, "sections", admissions.key)
    sexes = ("woman", "man")
    cues = zip(*(cue.tolist() for cue in evidence.cues()), strict=True)
    written = []
    for row, (draw, cue) in enumerate(zip(sources, cues, strict=True)):
        spoken = np.flatnonzero(evidence.said[row])
        said = [(int(c), Said(int(evidence.said[row, c]))) for c in spoken]
        training = split[admissions.patient[row]] == "train"
        held_out = 0.0 if training else world.difficulty.held_out_share
        sex = sexes[admissions.sex[row]]
        written.append(admission_sections(world.catalog, Told(said, *cue), sex, held_out, draw))
    return written


def _ventilation(world: World, admissions: Admissions) -> Floats:
    """P(mechanical ventilation | conditions), [admissions]."""
    (procedure,) = (p for p in world.catalog.procedures if p.name == VENTILATION)
    without = np.ones(len(admissions))
    for condition, chance in procedure.causes:
        without *= np.where(admissions.present[:, condition], 1 - chance, 1.0)
    return 1 - without
