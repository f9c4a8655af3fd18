"""The best prediction is right: against enumeration by hand, and against what then happened."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow.compute as pc
import pytest

from tasks import schemas, tables
from tasks.synth import truth
from tasks.synth.catalog import Catalog, Label, load
from tasks.synth.difficulty import Difficulty
from tasks.synth.evidence import Evidence, Mention, build_channel, cue_tables, draw_evidence
from tasks.synth.latent import (
    SEVERITIES,
    draw_admissions,
    draw_patients,
    prior,
    share_of_last,
)
from tasks.synth.synthesize import SynthSummary
from tests.synth.conftest import Population, lines_of

_FEW = ("heart failure", "sepsis", "acute respiratory failure", "benign prostatic hyperplasia")


@pytest.fixture(scope="module")
def tiny() -> Catalog:
    whole = load()
    chosen = tuple(c for c in whole.conditions if c.name in _FEW)
    return Catalog(chosen, (), whole.icd10_categories)


def test_best_equals_enumeration_of_every_latent_state(tiny: Catalog) -> None:
    knobs = Difficulty()
    states = prior(tiny, knobs)
    channel = build_channel(tiny, states, knobs)
    patients = draw_patients(1, np.arange(12), states, knobs)
    admissions = draw_admissions(1, patients, states)
    evidence = draw_evidence(1, admissions, channel)
    label = Label("X", ((0, 0.8), (2, 0.3)), ((), ()))
    for sex in (0, 1):
        rows = np.flatnonzero(admissions.sex == sex)
        known = truth.posterior(states, channel, evidence, sex, rows)
        ours = truth.best_of_label(known, label, 0.01)
        death = truth.best_of_death(known, tiny, knobs)
        for index, row in enumerate(rows):
            by_hand = _by_hand(tiny, knobs, states, channel, evidence, int(row), sex)
            np.testing.assert_allclose((ours[index], death[index]), by_hand, rtol=1e-9)


def test_best_is_calibrated_by_decile(population: Population) -> None:
    for system, table in population.tables.items():
        check_calibration(system, table.best.ravel(), table.drawn.ravel())
    check_calibration("mortality", population.death_best, population.died)


def test_best_never_ranks_better_than_the_latent_state(population: Population) -> None:
    for table in population.tables.values():
        # the Brier score of the better informed forecast is the lower one
        full = ((table.full - table.drawn) ** 2).mean()
        best = ((table.best - table.drawn) ** 2).mean()
        usual = ((table.drawn.mean(0) - table.drawn) ** 2).mean()
        assert full < best < usual


def test_truth_covers_what_the_coding_of_an_admission_can_tell(small: SynthSummary) -> None:
    rows = tables.read(small.truth, schemas.TRUTH)
    versions: dict[str, set[str]] = {}
    for row in lines_of(small.source / "hosp/diagnoses_icd.csv.gz"):
        versions.setdefault(row["hadm_id"], set()).add(row["icd_version"])
    noted = {row["hadm_id"] for row in lines_of(small.source / "note/discharge.csv.gz")}
    for version, system in (("9", "icd9cm"), ("10", "icd10cm")):
        of_system = rows.filter(pc.equal(rows["code_system"], system))
        here = {str(hadm) for hadm in of_system["hadm_id"].unique().to_pylist()}
        coded = {hadm for hadm, icd in versions.items() if icd == {version}}
        assert coded & noted <= here <= noted
        assert not here & {hadm for hadm, icd in versions.items() if icd != {version}}
    deaths = rows.filter(pc.equal(rows["outcome"], "mortality"))
    assert {str(hadm) for hadm in deaths["hadm_id"].to_pylist()} == noted
    assert pc.min(rows["p_best"]).as_py() > 0
    assert pc.max(rows["p_full"]).as_py() < 1


def check_calibration(name: str, best: np.ndarray, drawn: np.ndarray) -> None:
    """The mean forecast of each decile is within four standard errors of what happened."""
    for decile in np.array_split(np.argsort(best, kind="stable"), 10):
        expected, share = best[decile].mean(), drawn[decile].mean()
        # labels of an admission share a state, so the plain binomial error is too small
        error = 1.5 * np.sqrt((best[decile] * (1 - best[decile])).mean() / len(decile))
        assert abs(expected - share) < 4 * error + 1e-9, (name, expected, share)


def _by_hand(tiny, knobs, states, channel, evidence: Evidence, row: int, sex: int):  # type: ignore[no-untyped-def]
    """P(label), P(death) of one admission, through every state and every set of conditions."""
    total = label = death = 0.0
    cues = list(zip(cue_tables(channel), evidence.cues(), strict=True))
    for state in range(states.states):
        for present in itertools.product((False, True), repeat=len(tiny.conditions)):
            weight = states.state[state]
            for table, symbols in cues:
                weight *= table[state, symbols[row]]
            for index, here in enumerate(present):
                chance = states.present[sex, state, index]
                mention = Mention(int(evidence.mentions[row, index]))
                weight *= (chance if here else 1 - chance) * (
                    channel.present[mention, index] if here else channel.absent[mention, index]
                )
            without = (1 - 0.01) * (1 - 0.8 * present[0]) * (1 - 0.3 * present[2])
            survive = 1 - knobs.death_by_severity[state % SEVERITIES]
            for index, here in enumerate(present):
                survive *= 1 - tiny.conditions[index].death * here
            total += weight
            label += weight * (1 - without)
            death += weight * (1 - survive) * share_of_last(knobs)
    return label / total, death / total
