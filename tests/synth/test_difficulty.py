"""How hard the demo's task is, measured: the promises of the generator's defaults."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.measures.ranking import auroc_by_label
from tasks.synth.evidence import Mention
from tests.synth.conftest import LabelTable, Population

DIAGNOSES = ("icd9cm", "icd10cm")
_NOT_OF_NOW = (Mention.NEGATED, Mention.HISTORICAL, Mention.RELATIVE)


def test_labels_are_many_and_long_tailed(population: Population) -> None:
    shares = np.concatenate([population.tables[system].drawn.mean(0) for system in DIAGNOSES])
    assert len(shares) >= 200
    rare, usual = np.quantile(shares, (0.1, 0.5))
    assert rare < 0.03
    assert usual < 0.06
    assert shares.max() > 8 * rare
    # a tenth of the labels makes up more than a quarter of all codes
    assert np.sort(shares)[-len(shares) // 10 :].sum() > 0.25 * shares.sum()


def test_enough_patients_of_the_test_split_die(population: Population) -> None:
    assert population.died[_in(population, "test") & population.noted].sum() >= 30


def test_a_quarter_of_what_a_patient_has_is_never_mentioned(population: Population) -> None:
    mention = population.mentions[population.present]
    assert (mention == Mention.OMITTED).mean() >= 0.25


def test_a_tenth_of_the_mentions_is_not_of_the_patient_now(population: Population) -> None:
    mentions = population.mentions[population.mentions != Mention.OMITTED]
    assert np.isin(mentions, _NOT_OF_NOW).mean() >= 0.10
    # every way of saying it is in use, of those who have the condition and of those who do not
    assert set(np.unique(population.mentions[population.present])) == set(Mention)
    assert set(np.unique(population.mentions[~population.present])) == set(Mention)


def test_best_is_neither_perfect_nor_poor(population: Population) -> None:
    best = _macro(population, {s: population.tables[s].best for s in DIAGNOSES})
    assert 0.80 <= best <= 0.92
    # the chance of death must be worth predicting too
    test = _in(population, "test") & population.noted
    (death,) = _auroc(population.death_best[test, None], population.died[test, None])
    assert 0.65 <= death <= 0.92


def test_a_keyword_rule_stays_below_70_percent_of_the_way(population: Population) -> None:
    hits = _keyword_hits(population)
    scores = {}
    for system in DIAGNOSES:
        table = population.tables[system]
        columns = [hits[table.rows][:, causes].any(1) for causes in table.causes]
        scores[system] = np.stack(columns, 1).astype(np.float64)
    share = _share_of_the_way(population, scores)
    print(f"keyword rule: {share:.3f} of the way")
    assert 0.2 < share <= 0.70


def test_tfidf_stays_below_90_percent_of_the_way(population: Population) -> None:
    scores = {}
    for system in DIAGNOSES:
        by_strength = [
            _tfidf(population, population.tables[system], strength) for strength in (0.1, 1.0, 10.0)
        ]
        scores[system] = max(
            by_strength, key=lambda score: _mean(population, system, score, "validation")
        )
    share = _share_of_the_way(population, scores)
    print(f"TF-IDF: {share:.3f} of the way")
    assert 0.5 < share <= 0.90


def test_no_classifier_fed_the_evidence_itself_beats_best(population: Population) -> None:
    table = population.tables["icd9cm"]
    frequent = np.argsort(-table.drawn.sum(0))[:10]
    symbols = _one_hot(population)[table.rows]
    split = population.split[table.rows]
    train, test = split == "train", split == "test"
    drawn, best = table.drawn[:, frequent], table.best[:, frequent]
    owner = population.patient[table.rows][test]
    linear = np.zeros(drawn[test].shape)
    boosted = np.zeros(drawn[test].shape)
    for label in range(len(frequent)):
        y = drawn[train, label]
        model = LogisticRegression(C=0.1, solver="liblinear").fit(symbols[train], y)
        linear[:, label] = model.decision_function(symbols[test])
        trees = HistGradientBoostingClassifier(max_iter=40, max_depth=3, random_state=0)
        boosted[:, label] = trees.fit(symbols[train], y).decision_function(symbols[test])
    for score in (linear, boosted):
        low, value = _difference(score, best[test], drawn[test], owner)
        print(f"evidence classifier minus p_best: {value:.4f}, lower bound {low:.4f}")
        assert low <= 0


def _keyword_hits(population: Population) -> NDArray[np.bool_]:
    """Whether any form or drug of a condition stands in an admission note, as whole words."""
    hits = np.zeros(population.mentions.shape, dtype=bool)
    patterns = [
        re.compile(r"\b(?:" + "|".join(map(re.escape, _forms(condition))) + r")\b")
        for condition in population.world.catalog.conditions
    ]
    for row in np.flatnonzero(_in(population, "test")):
        note = population.notes[row].lower()
        hits[row] = [pattern.search(note) is not None for pattern in patterns]
    return hits


def _forms(condition) -> list[str]:  # type: ignore[no-untyped-def]
    return [form.lower() for form in (*condition.forms, *condition.held_out, condition.drug)]


def _tfidf(population: Population, table: LabelTable, strength: float) -> NDArray[np.float64]:
    notes = [population.notes[row] for row in table.rows]
    train = population.split[table.rows] == "train"
    vectorizer = TfidfVectorizer()
    vectorizer.fit([note for note, here in zip(notes, train, strict=True) if here])
    features = vectorizer.transform(notes)
    columns = []
    for label in range(table.drawn.shape[1]):
        model = LogisticRegression(C=strength, solver="liblinear", tol=0.01)
        model.fit(features[train], table.drawn[train, label])
        columns.append(model.decision_function(features))
    return np.stack(columns, 1)


def _one_hot(population: Population) -> NDArray[np.float32]:
    spoken = [population.mentions == mention for mention in Mention if mention != Mention.OMITTED]
    cues = [np.eye(cue.max() + 1)[cue] for cue in population.cues.T]
    return np.concatenate([*spoken, *cues], 1).astype(np.float32)


def _share_of_the_way(population: Population, scores: dict[str, NDArray[np.float64]]) -> float:
    best = _macro(population, {system: population.tables[system].best for system in scores})
    return (_macro(population, scores) - 0.5) / (best - 0.5)


def _macro(population: Population, scores: dict[str, NDArray[np.float64]]) -> float:
    """Macro AUROC on test over the labels of all the code systems."""
    values = [_values(population, system, score, "test") for system, score in scores.items()]
    return float(np.nanmean(np.concatenate(values)))


def _mean(population: Population, system: str, score: NDArray[np.float64], split: str) -> float:
    return float(np.nanmean(_values(population, system, score, split)))


def _values(
    population: Population, system: str, score: NDArray[np.float64], split: str
) -> NDArray[np.float64]:
    table = population.tables[system]
    here = population.split[table.rows] == split
    return _auroc(score[here], table.drawn[here])


def _auroc(scores: NDArray[np.float64], drawn: NDArray[np.bool_]) -> NDArray[np.float64]:
    return auroc_by_label(scores.astype(np.float32), drawn, np.ones_like(drawn))


def _difference(
    score: NDArray[np.float64],
    best: NDArray[np.float64],
    drawn: NDArray[np.bool_],
    owner: NDArray[np.int64],
    replicates: int = 200,
) -> tuple[float, float]:
    """Lower 2.5% bound and value of the paired macro difference, patients resampled."""
    order = np.argsort(owner, kind="stable")
    patients, first, count = np.unique(owner[order], return_index=True, return_counts=True)
    random = np.random.default_rng(0)
    values = []
    for _ in range(replicates):
        chosen = random.integers(0, len(patients), len(patients))
        rows = np.concatenate([order[first[c] : first[c] + count[c]] for c in chosen])
        ours, theirs = _auroc(best[rows], drawn[rows]), _auroc(score[rows], drawn[rows])
        values.append(np.nanmean(theirs) - np.nanmean(ours))
    value = np.nanmean(_auroc(score, drawn)) - np.nanmean(_auroc(best, drawn))
    return float(np.quantile(values, 0.025)), float(value)


def _in(population: Population, split: str) -> NDArray[np.bool_]:
    return population.split == split
