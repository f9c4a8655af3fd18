"""Stays: their length, ventilation, returns and deaths, and the truth about the first two."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from tasks.measures.ranking import auroc_by_label
from tasks.synth import lengths, truth, ventilation
from tasks.synth.catalog import VENTILATION, Catalog, Procedure, load
from tasks.synth.difficulty import Difficulty
from tasks.synth.evidence import Mention, build_channel, cue_tables, draw_evidence
from tasks.synth.latent import (
    SEVERITIES,
    Admissions,
    draw_admissions,
    draw_patients,
    prior,
    share_of_last,
)
from tasks.synth.synthesize import synthesize
from tests.synth.conftest import Population, lines_of
from tests.synth.test_truth import check_calibration

Rows = list[dict[str, str]]
_TUBE = (0, 0.4), (1, 0.3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stays")
    return synthesize(folder, patients=1500, seed=5, general_characters=1000).source


@pytest.fixture(scope="module")
def admissions(source: Path) -> Rows:
    return lines_of(source / "hosp/admissions.csv.gz")


def _minutes(time: str) -> int:
    return int(np.datetime64(time, "m").astype(np.int64))


def test_length_of_stay_has_four_classes_of_plausible_size(population: Population) -> None:
    shares = np.bincount(_of(population, "length"), minlength=4) / len(population.died)
    assert (shares > (0.25, 0.25, 0.1, 0.02)).all()


def test_best_length_is_calibrated_and_worth_predicting(population: Population) -> None:
    alive = ~population.died
    best = np.concatenate([part.length_best for part in population.parts])[alive]
    full = np.concatenate([part.length_full for part in population.parts])[alive]
    happened = np.eye(4, dtype=bool)[_of(population, "length")[alive]]
    for index, name in enumerate(lengths.CLASSES):
        check_calibration(f"best {name}", best[:, index], happened[:, index])
        check_calibration(f"full {name}", full[:, index], happened[:, index])
    everywhere = np.ones_like(happened)
    scores = [auroc_by_label(p.astype(np.float32), happened, everywhere) for p in (best, full)]
    assert (scores[0] > 0.6).all()
    assert (scores[1] > scores[0]).all()


def test_best_of_prolonged_ventilation_is_calibrated(population: Population) -> None:
    asked = _of(population, "long_enough")
    best = np.concatenate([part.prolonged_best for part in population.parts])[asked]
    happened = _of(population, "prolonged")[asked]
    assert len(happened) > 300
    assert 0.2 < happened.mean() < 0.6
    assert abs(best.mean() - happened.mean()) < 4 * 0.5 / np.sqrt(len(happened))
    (score,) = auroc_by_label(
        best[:, None].astype(np.float32), happened[:, None], np.ones((len(best), 1), bool)
    )
    assert score > 0.6


def test_best_equals_enumeration_of_every_latent_state() -> None:
    whole, knobs = load(), Difficulty()
    names = ("heart failure", "sepsis", "acute respiratory failure", "delirium")
    tube = Procedure(VENTILATION, {}, _TUBE)
    tiny = Catalog(tuple(c for c in whole.conditions if c.name in names), (tube,), {})
    states = prior(tiny, knobs)
    channel = build_channel(tiny, states, knobs)
    patients = draw_patients(1, np.arange(12), states, knobs)
    drawn = draw_admissions(1, patients, states)
    evidence = draw_evidence(1, drawn, channel)
    rows = np.flatnonzero(drawn.sex == 0)
    known = truth.posterior(states, channel, evidence, 0, rows)
    length = lengths.best_of_length(known, tiny, knobs)
    prolonged = ventilation.best_of_prolonged(known, tiny)
    for number, row in enumerate(rows):
        by_hand = np.zeros(4)
        alive = cohort = long = 0.0
        for state, present in itertools.product(
            range(states.states), itertools.product((False, True), repeat=4)
        ):
            weight = states.state[state]
            for table, symbols in zip(cue_tables(channel), evidence.cues(), strict=True):
                weight *= table[state, symbols[row]]
            survive = 1 - knobs.death_by_severity[state % SEVERITIES]
            for index, here in enumerate(present):
                mention, chance = (
                    Mention(int(evidence.mentions[row, index])),
                    states.present[0, state, index],
                )
                weight *= (chance if here else 1 - chance) * (
                    channel.present[mention, index] if here else channel.absent[mention, index]
                )
                survive *= 1 - tiny.conditions[index].death * here
            survive = 1 - share_of_last(knobs) * (1 - survive)
            one = _admission(state, present)
            by_hand += weight * survive * lengths.full_of_length(one, tiny)[0]
            alive += weight * survive
            tubed = weight * (1 - np.prod([1 - each * present[c] for c, each in _TUBE]))
            cohort += tubed * ventilation.share_over(2.0)[state % SEVERITIES]
            long += tubed * ventilation.share_over(6.75)[state % SEVERITIES]
        np.testing.assert_allclose(length[number], by_hand / alive, rtol=1e-4)
        np.testing.assert_allclose(prolonged[number], long / cohort, rtol=1e-9)


def test_ventilation_has_intervals_pauses_and_both_long_and_short_courses(source: Path) -> None:
    courses = _courses(source)
    gaps = [b[0] - a[1] for spans in courses.values() for a, b in itertools.pairwise(spans)]
    assert min(gaps) > 0
    assert any(gap < 8 * 60 for gap in gaps)
    assert any(gap > 14 * 60 for gap in gaps)
    days = [(spans[-1][1] - spans[0][0]) / 1440 for spans in courses.values()]
    assert min(days) < 1
    assert sum(each > 7 for each in days) > 10


def test_some_die_on_the_ventilator_before_day_seven(source: Path, admissions: Rows) -> None:
    deaths = {row["hadm_id"]: row["deathtime"] for row in admissions if row["deathtime"]}
    early = [
        hadm
        for (hadm, _), spans in _courses(source).items()
        if hadm in deaths
        and spans[-1][1] == _minutes(deaths[hadm])
        and spans[-1][1] - spans[0][0] < 7 * 1440
    ]
    assert len(early) >= 3
    events = lines_of(source / "icu/procedureevents.csv.gz")
    extubated = {row["hadm_id"] for row in events if row["itemid"] == "227194"}
    assert not {hadm for hadm in early if len(_spans(source, hadm)) == 1} & extubated


def test_second_icu_stays_follow_the_first_within_the_admission(
    source: Path, admissions: Rows
) -> None:
    by_admission: dict[str, Rows] = defaultdict(list)
    for row in lines_of(source / "icu/icustays.csv.gz"):
        by_admission[row["hadm_id"]].append(row)
    ends = {row["hadm_id"]: row["dischtime"] for row in admissions}
    again = {hadm: stays for hadm, stays in by_admission.items() if len(stays) > 1}
    assert len(again) > 20
    for hadm, (first, second) in again.items():
        assert first["outtime"] < second["intime"] < second["outtime"] < ends[hadm]


def test_observation_stays_are_short_and_named_as_in_mimic(admissions: Rows) -> None:
    kinds: dict[str, list[float]] = defaultdict(list)
    for row in admissions:
        days = (_minutes(row["dischtime"]) - _minutes(row["admittime"])) / 1440
        kinds[row["admission_type"]].append(days)
    observed = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
    assert set(kinds) == {
        *observed,
        *("EW EMER.", "OBSERVATION ADMIT", "URGENT", "DIRECT EMER.", "ELECTIVE"),
        "SURGICAL SAME DAY ADMISSION",
    }
    assert max(days for kind in observed for days in kinds[kind]) <= 2
    share = sum(len(days) for kind, days in kinds.items() if "OBSERVATION" in kind)
    assert share / len(admissions) == pytest.approx(87 / 275, abs=0.08)  # the open demo's
    emergency = [row for row in admissions if row["admission_type"] == "EU OBSERVATION"]
    assert all(row["edregtime"] < row["admittime"] for row in emergency)


def test_patients_return_within_30_days_some_on_the_same_day(admissions: Rows) -> None:
    returns = [
        (_minutes(b["admittime"]) - _minutes(a["dischtime"]), a, b)
        for a, b in itertools.pairwise(admissions)
        if a["subject_id"] == b["subject_id"]
    ]
    soon = [(a, b) for minutes, a, b in returns if minutes <= 30 * 1440]
    assert 0.08 < len(soon) / len(admissions) < 0.25
    assert sum(a["dischtime"][:10] == b["admittime"][:10] for a, b in soon) >= 3
    assert {"ELECTIVE", "EU OBSERVATION"} <= {b["admission_type"] for _, b in soon}
    assert all(not b["edregtime"] or b["edregtime"] >= a["dischtime"] for _, a, b in returns)


def test_some_die_within_30_days_after_their_last_discharge(source: Path, admissions: Rows) -> None:
    last = {row["subject_id"]: row for row in admissions}
    days = []
    for row in lines_of(source / "hosp/patients.csv.gz"):
        stay = last[row["subject_id"]]
        if stay["deathtime"]:
            assert row["dod"] == stay["deathtime"][:10]
        elif row["dod"]:
            days.append(np.datetime64(row["dod"]) - np.datetime64(stay["dischtime"][:10]))
    counted = np.array(days).astype(np.int64)
    assert counted.min() >= 1
    assert counted.max() <= 365
    assert 0.01 < (counted <= 30).sum() / len(last) < 0.05


def _courses(source: Path) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """The intervals of invasive ventilation by admission and ICU stay, in minutes."""
    intervals_of: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in lines_of(source / "icu/procedureevents.csv.gz"):
        if row["itemid"] == "225792":
            span = _minutes(row["starttime"]), _minutes(row["endtime"])
            assert int(row["value"]) == span[1] - span[0]
            intervals_of[row["hadm_id"], row["stay_id"]].append(span)
    return intervals_of


def _spans(source: Path, hadm: str) -> list[tuple[int, int]]:
    return [span for (of, _), spans in _courses(source).items() if of == hadm for span in spans]


def _admission(state: int, present: tuple[bool, ...]) -> Admissions:
    one = np.zeros(1, np.int64)
    return Admissions(
        *(one, one, np.ones(1, bool), one.astype(np.uint64), one),
        severity=one + state % SEVERITIES,
        state=one + state,
        present=np.array([present]),
    )


def _of(population: Population, name: str) -> np.ndarray:
    return np.concatenate([getattr(part.stays, name) for part in population.parts])
