"""What an admission note says: how each condition is mentioned, and four cues of the state.

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


class Mention(IntEnum):
    """How the admission note mentions a condition."""

    OMITTED = 0
    AFFIRMED = 1
    AFFIRMED_WITH_DRUG = 2
    DRUG_ONLY = 3
    UNCERTAIN = 4
    HISTORICAL = 5
    NEGATED = 6
    RELATIVE = 7


COMPLAINTS_A_PROFILE = 3
_GENERAL = ((0.85, 0.13, 0.02), (0.25, 0.57, 0.18), (0.05, 0.25, 0.7))  # [severity, level]
_VITALS = ((0.25, 0.6, 0.13, 0.02), (0.25, 0.25, 0.4, 0.1), (0.25, 0.05, 0.2, 0.5))


@dataclass(frozen=True)
class Channel:
    """P(symbol | latent state) of every kind of evidence."""

    present: Floats  # [symbols, conditions], P(mention | present)
    absent: Floats  # [symbols, conditions], P(mention | absent)
    complaint: Floats  # [states, complaints]
    finding: Floats  # [states, findings]; the last finding is a normal exam
    general: Floats  # [states, levels]
    vitals: Floats  # [states, levels]


@dataclass(frozen=True)
class Evidence:
    """The symbols of a chunk of admissions."""

    mentions: NDArray[np.int8]  # [admissions, conditions], Mention
    complaint: Ints  # [admissions]
    finding: Ints  # [admissions]
    general: Ints  # [admissions]
    vitals: Ints  # [admissions]

    def cues(self) -> tuple[Ints, ...]:
        """The symbols that depend on the state alone, in the order of `cue_tables`."""
        return self.complaint, self.finding, self.general, self.vitals


def build_channel(catalog: Catalog, prior: Prior, difficulty: Difficulty) -> Channel:
    """Build the channel; conditions differ in how often notes mention them."""
    knobs = difficulty
    count = len(catalog.conditions)
    prevalence = np.array([condition.prevalence for condition in catalog.conditions])
    # a fixed spread of +-25% in how often a present condition is mentioned
    spread = 1 + 0.25 * np.sin(np.arange(count) * 2.399963)
    root = np.sqrt(prevalence) / np.sqrt(prevalence).mean()
    chances = {  # of a mention, if the condition is present and if it is absent
        Mention.AFFIRMED: (knobs.affirmed * spread, knobs.false_affirmed * root),
        Mention.AFFIRMED_WITH_DRUG: (
            knobs.affirmed_with_drug * spread,
            0.1 * knobs.false_affirmed * root,
        ),
        Mention.DRUG_ONLY: (knobs.drug_only * spread, knobs.false_drug * root),
        Mention.UNCERTAIN: (knobs.uncertain * spread, knobs.false_uncertain * root),
        Mention.HISTORICAL: (knobs.historical, knobs.false_historical * root),
        Mention.NEGATED: (knobs.negated, knobs.false_negated * root),
        Mention.RELATIVE: (knobs.relative, knobs.false_relative * root),
    }
    present, absent = np.zeros((2, len(Mention), count))
    for mention, (if_present, if_absent) in chances.items():
        present[mention], absent[mention] = if_present, if_absent
    for table in (present, absent):
        table[Mention.OMITTED] = 1 - table[1:].sum(0)
    return Channel(
        present,
        absent,
        complaint=_typical(prior, COMPLAINTS_A_PROFILE, 0, knobs.complaint_own),
        finding=_typical(prior, 1, 1, knobs.finding_own),
        general=np.tile(np.array(_GENERAL), (len(PROFILES), 1)),
        vitals=np.tile(np.array(_VITALS), (len(PROFILES), 1)),
    )


def draw_evidence(seed: int, admissions: Admissions, channel: Channel) -> Evidence:
    """Draw the symbols of each admission given its latent state."""
    conditions = channel.present.shape[1]
    uniform = draws.uniforms(seed, "said", admissions.key, conditions)
    mentions = np.zeros(uniform.shape, np.int8)
    if_present, if_absent = np.cumsum(channel.present, 0), np.cumsum(channel.absent, 0)
    for symbol in range(len(Mention) - 1):
        bound = np.where(admissions.present, if_present[symbol], if_absent[symbol])
        mentions += uniform >= bound
    cue = draws.uniforms(seed, "cues", admissions.key, 4)
    tables = cue_tables(channel)
    chosen = [
        draws.choose(np.cumsum(table, 1)[admissions.state], cue[:, column])
        for column, table in enumerate(tables)
    ]
    return Evidence(mentions, *chosen)


def cue_tables(channel: Channel) -> tuple[Floats, ...]:
    """P(symbol | state) of the cues, in the order of `Evidence.cues`."""
    return channel.complaint, channel.finding, channel.general, channel.vitals


def _typical(prior: Prior, per_profile: int, normal: int, typical: float) -> Floats:
    """P(symbol | state): one of the profile's with chance `typical`, else any, or an extra one.

    Returns [states, profiles * per_profile + normal]; an extra symbol (`normal` is 1) takes half
    of the rest.
    """
    profiles = len(PROFILES)
    symbols = profiles * per_profile + normal
    table = np.zeros((prior.states, symbols))
    rest = (1 - typical) * (0.5 if normal else 1.0)
    for state in range(prior.states):
        profile = state // SEVERITIES
        table[state, : profiles * per_profile] = rest / (profiles * per_profile)
        table[state, profile * per_profile : (profile + 1) * per_profile] += typical / per_profile
        if normal:
            table[state, -1] = (1 - typical) * 0.5
    return table
