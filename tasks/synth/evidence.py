"""What an admission note tells: for each condition how it is spoken of, and four cues of the state.

The note's prose is a function of these symbols and of draws that know nothing else, so the
posterior given the symbols is the best that any reader of the admission sections can reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tasks.synth import draws
from tasks.synth.catalog import PROFILES, Catalog
from tasks.synth.difficulty import Difficulty
from tasks.synth.latent import SEVERITIES, Admissions, Floats, Ints, Prior


class Said(IntEnum):
    """How the admission note speaks of a condition."""

    OMITTED = 0
    AFFIRMED = 1
    AFFIRMED_WITH_DRUG = 2
    DRUG_ONLY = 3
    UNCERTAIN = 4
    HISTORICAL = 5
    NEGATED = 6
    RELATIVE = 7


COMPLAINTS_A_PROFILE = 3
GENERAL_LEVELS = 3
VITALS_LEVELS = 4  # none, and three
_GENERAL = ((0.85, 0.13, 0.02), (0.25, 0.57, 0.18), (0.05, 0.25, 0.7))  # [severity, level]
_VITALS = ((0.25, 0.6, 0.13, 0.02), (0.25, 0.25, 0.4, 0.1), (0.25, 0.05, 0.2, 0.5))


@dataclass(frozen=True)
class Channel:
    """P(symbol | latent state) of every kind of evidence."""

    present: Floats  # [symbols, conditions], P(said | present)
    absent: Floats  # [symbols, conditions], P(said | absent)
    complaint: Floats  # [states, complaints]
    finding: Floats  # [states, findings]; the last finding is a normal exam
    general: Floats  # [states, levels]
    vitals: Floats  # [states, levels]


@dataclass(frozen=True)
class Evidence:
    """The symbols of a chunk of admissions."""

    said: NDArray[np.int8]  # [admissions, conditions], Said
    complaint: Ints  # [admissions]
    finding: Ints  # [admissions]
    general: Ints  # [admissions]
    vitals: Ints  # [admissions]

    def cues(self) -> tuple[Ints, ...]:
        """The symbols that depend on the state alone, in the order of `cue_tables`."""
        return self.complaint, self.finding, self.general, self.vitals


def channel(catalog: Catalog, world: Prior, difficulty: Difficulty) -> Channel:
    """Build the channel; conditions differ in how often notes speak of them."""
    knobs = difficulty
    count = len(catalog.conditions)
    prevalence = np.array([condition.prevalence for condition in catalog.conditions])
    # a fixed spread of +-25% in how often a present condition is spoken of
    spread = 1 + 0.25 * np.sin(np.arange(count) * 2.399963)
    present = np.zeros((len(Said), count))
    present[Said.AFFIRMED] = knobs.affirmed * spread
    present[Said.AFFIRMED_WITH_DRUG] = knobs.affirmed_with_drug * spread
    present[Said.DRUG_ONLY] = knobs.drug_only * spread
    present[Said.UNCERTAIN] = knobs.uncertain * spread
    present[Said.HISTORICAL] = knobs.historical
    present[Said.NEGATED] = knobs.negated
    present[Said.RELATIVE] = knobs.relative
    root = np.sqrt(prevalence) / np.sqrt(prevalence).mean()
    absent = np.zeros((len(Said), count))
    absent[Said.AFFIRMED] = knobs.false_affirmed * root
    absent[Said.DRUG_ONLY] = knobs.false_drug * root
    absent[Said.AFFIRMED_WITH_DRUG] = 0.1 * knobs.false_affirmed * root
    absent[Said.UNCERTAIN] = knobs.false_uncertain * root
    absent[Said.HISTORICAL] = knobs.false_historical * root
    absent[Said.NEGATED] = knobs.false_negated * root
    absent[Said.RELATIVE] = knobs.false_relative * root
    for table in (present, absent):
        table[Said.OMITTED] = 1 - table[1:].sum(0)
    return Channel(
        present,
        absent,
        complaint=_typical(world, COMPLAINTS_A_PROFILE, 0, knobs.complaint_own),
        finding=_typical(world, 1, 1, knobs.finding_own),
        general=np.tile(np.array(_GENERAL), (len(PROFILES), 1)),
        vitals=np.tile(np.array(_VITALS), (len(PROFILES), 1)),
    )


def draw_evidence(seed: int, admissions: Admissions, told: Channel) -> Evidence:
    """Draw the symbols of each admission given its latent state."""
    conditions = told.present.shape[1]
    uniform = draws.uniforms(seed, "said", admissions.key, conditions)
    said = np.zeros(uniform.shape, np.int8)
    if_present, if_absent = np.cumsum(told.present, 0), np.cumsum(told.absent, 0)
    for symbol in range(len(Said) - 1):
        bound = np.where(admissions.present, if_present[symbol], if_absent[symbol])
        said += uniform >= bound
    cue = draws.uniforms(seed, "cues", admissions.key, 4)
    tables = cue_tables(told)
    chosen = [
        draws.choose(np.cumsum(table, 1)[admissions.state], cue[:, place])
        for place, table in enumerate(tables)
    ]
    return Evidence(said, *chosen)


def cue_tables(told: Channel) -> tuple[Floats, ...]:
    """P(symbol | state) of the cues, in the order of `Evidence.cues`."""
    return told.complaint, told.finding, told.general, told.vitals


def _typical(world: Prior, each: int, normal: int, own: float) -> Floats:
    """P(symbol | state): the profile's own with chance `own`, else any; `normal` extra symbols.

    Returns [states, profiles * each + normal]; an extra symbol takes half of what is not own.
    """
    profiles = len(PROFILES)
    symbols = profiles * each + normal
    table = np.zeros((world.states, symbols))
    rest = (1 - own) * (0.5 if normal else 1.0)
    for state in range(world.states):
        profile = state // SEVERITIES
        table[state, : profiles * each] = rest / (profiles * each)
        table[state, profile * each : (profile + 1) * each] += own / each
        if normal:
            table[state, -1] = (1 - own) * 0.5
    return table
