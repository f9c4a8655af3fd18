"""The best reachable prediction: P(label | evidence), exact by enumeration over the latent state.

Given a state (profile, severity) the conditions are independent, each with its own symbol, so
P(state | evidence) is a product and every label, a noisy-or of conditions, has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks import schemas
from tasks.synth.catalog import Catalog, Label
from tasks.synth.difficulty import Difficulty
from tasks.synth.evidence import Channel, Evidence, cue_tables
from tasks.synth.latent import SEVERITIES, Admissions, Floats, Ints, Prior, share_of_last


@dataclass(frozen=True)
class Posterior:
    """What the evidence of some admissions of one sex says about their latent state."""

    state: Floats  # [admissions, states], P(state | evidence)
    present: Floats  # [symbols, states, conditions], P(condition | its symbol, state)
    mentions: Ints  # [admissions, conditions]

    def of_condition(self, condition: int) -> Floats:
        """P(condition | evidence, state), [admissions, states]."""
        table: Floats = self.present[:, :, condition][self.mentions[:, condition]]
        return table


def posterior(
    prior: Prior, channel: Channel, evidence: Evidence, sex: int, rows: Ints
) -> Posterior:
    """P(state | evidence) of the admissions in these rows, all of patients of that sex."""
    # [symbols, states, conditions]
    if_present = channel.present[:, None, :] * prior.present[sex][None]
    if_absent = channel.absent[:, None, :] * (1 - prior.present[sex][None])
    marginal = if_present + if_absent
    mentions = evidence.mentions[rows].astype(np.int64)
    log_weight = np.tile(np.log(prior.state), (len(rows), 1))
    log_marginal = np.log(np.maximum(marginal, 1e-300))
    for condition in range(mentions.shape[1]):
        log_weight += log_marginal[:, :, condition][mentions[:, condition]]
    for table, symbols in zip(cue_tables(channel), evidence.cues(), strict=True):
        log_weight += np.log(table).T[symbols[rows]]
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return Posterior(
        weight / weight.sum(1, keepdims=True), if_present / np.maximum(marginal, 1e-300), mentions
    )


def best_of_label(known: Posterior, label: Label, miscoded: float) -> Floats:
    """P(label | evidence), [admissions]: averaged over states, its causes a noisy-or."""
    without = np.full(known.state.shape, 1.0 - miscoded)
    for condition, chance in label.causes:
        without *= 1.0 - chance * known.of_condition(condition)
    return 1.0 - (known.state * without).sum(1)


def full_of_label(present: np.ndarray, label: Label, miscoded: float) -> Floats:
    """P(label | the conditions themselves), [admissions]."""
    without = np.full(len(present), 1.0 - miscoded)
    for condition, chance in label.causes:
        without *= np.where(present[:, condition], 1.0 - chance, 1.0)
    return 1.0 - without


def best_of_death(known: Posterior, catalog: Catalog, difficulty: Difficulty) -> Floats:
    """P(death in this admission | evidence), [admissions]."""
    severities = np.array(difficulty.death_by_severity)
    survive = np.tile(
        1 - np.tile(severities, known.state.shape[1] // SEVERITIES), (len(known.state), 1)
    )
    for index, condition in enumerate(catalog.conditions):
        if condition.death:
            survive *= 1.0 - condition.death * known.of_condition(index)
    return share_of_last(difficulty) * (1.0 - (known.state * survive).sum(1))


def full_of_death(admissions: Admissions, catalog: Catalog, difficulty: Difficulty) -> Floats:
    """P(death | the conditions and the severity, not whether it is the last), [admissions]."""
    return share_of_last(difficulty) * (1.0 - survival(admissions, catalog, difficulty))


def survival(admissions: Admissions, catalog: Catalog, difficulty: Difficulty) -> Floats:
    """P(survival | state) of a last admission, [admissions]."""
    survive = 1.0 - np.array(difficulty.death_by_severity)[admissions.severity]
    death = np.array([condition.death for condition in catalog.conditions])
    return survive * np.prod(np.where(admissions.present, 1.0 - death, 1.0), axis=1)


def rows(
    hadm_id: Ints, outcome: str, system: str, codes: Sequence[str], full: Floats, best: Floats
) -> pa.Table:
    """Truth rows of some admissions and all labels; full and best are [admissions, labels]."""
    count, labels = full.shape
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.tile(np.arange(labels, dtype=np.int32), count)), pa.array(list(codes))
    )
    columns = {
        "hadm_id": pa.array(np.repeat(hadm_id, labels)),
        "outcome": pa.repeat(outcome, count * labels),
        "code_system": pa.repeat(system, count * labels),
        "label": names.cast(pa.string()),
        "p_full": pa.array(full.ravel().astype(np.float32)),
        "p_best": pa.array(best.ravel().astype(np.float32)),
    }
    return pa.table(columns, schema=schemas.TRUTH)
