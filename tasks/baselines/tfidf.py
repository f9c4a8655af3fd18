"""The baseline: TF-IDF of the same admission notes and one logistic regression a label.

The strength C, one for all labels of an outcome, is that with the best macro AUROC on validation,
where the networks' epochs are chosen too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.baselines.config import TfidfConfig
from tasks.baselines.regressions import Regressions
from tasks.data.outcomes import Outcome, Rows, read_outcome, split_rows, training_rows
from tasks.data.predictions import SPLITS, write_predictions
from tasks.measures.ranking import macro_auroc
from tasks.variants import Variant, write_variant

TFIDF = Variant(
    name="tfidf",
    title="TF-IDF + logistic regression",
    short_title="TF-IDF",
    phrase="TF-IDF with logistic regression",
    baseline=True,
)
RARE = -20.0  # the logit of a class that no training admission has

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class BagOfWords:
    """The admissions and their notes as a sparse matrix."""

    hadm_ids: NDArray[np.int64]
    splits: tuple[str, ...]
    terms: Any  # scipy.sparse.csr_matrix [admissions, terms]
    train: Rows
    regressions: Regressions  # on the training admissions


def write_tfidf(
    out: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    tfidf: TfidfConfig,
    most: int | None,
    seed: int,
) -> dict[str, int | float | str]:
    """Write out/tfidf/<outcome>/<split>.parquet for validation and test; return what was chosen.

    Learns from the same training admissions as the adapters (`most` of them, drawn by `seed`); the
    test split is only scored.
    """
    table = tables.read(cohort / "admissions", schemas.ADMISSIONS, ["hadm_id", "split", "note"])
    hadm_ids, splits = table["hadm_id"].to_numpy(), tuple(table["split"].to_pylist())
    lined_up = [read_outcome(name, path, hadm_ids) for name, path in outcomes.items()]
    train = training_rows(hadm_ids, splits, lined_up, most, seed)
    notes = table["note"].to_pylist()
    terms = _terms(notes, train, tfidf)
    counts: dict[str, int | float | str] = {
        "variant": TFIDF.name,
        "terms": terms.shape[1],
        "admissions_to_learn_from": len(train),
    }
    labels = sum(len(outcome.labels) for outcome in lined_up if not outcome.one_of)
    fits = labels * len(tfidf.strengths)
    with Regressions(terms[train], out / "work", expected=fits) as regressions:
        bags = BagOfWords(hadm_ids, splits, terms, train, regressions)
        for outcome in lined_up:
            strength, scores = fit_best(bags, outcome, tfidf)
            counts[f"{outcome.name}_C"] = strength
            for split, values in scores.items():
                path = out / TFIDF.name / outcome.name / f"{split}.parquet"
                write_predictions(path, hadm_ids[split_rows(splits, split)], values)
    write_variant(out / TFIDF.name, TFIDF)
    return counts


def fit_best(
    bags: BagOfWords, outcome: Outcome, config: TfidfConfig
) -> tuple[float, dict[str, Scores]]:
    """The best C by macro AUROC on validation, and its scores on validation and test."""
    rows = {split: split_rows(bags.splits, split) for split in SPLITS}
    truth = outcome.positives(rows["validation"]), outcome.observed(rows["validation"])
    best: tuple[float, float, dict[str, Scores]] | None = None
    for strength in config.strengths:
        weights, biases = _fit(bags, outcome, strength)
        scores = {
            split: np.asarray(bags.terms[indices] @ weights + biases, np.float32)
            for split, indices in rows.items()
        }
        value = macro_auroc(outcome.rankable(scores["validation"]), *truth)
        value = -1.0 if np.isnan(value) else value
        if best is None or value > best[0]:
            best = value, strength, scores
    assert best is not None
    return best[1], best[2]


def _terms(notes: list[str], train: Rows, config: TfidfConfig) -> Any:
    """TF-IDF of all notes, vocabulary and document frequencies from the training ones alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        max_features=config.max_features,
        ngram_range=(1, config.longest_ngram),
        sublinear_tf=True,
        dtype=np.float32,
    )
    vectorizer.fit([notes[row] for row in train])
    return vectorizer.transform(notes).tocsr()


def _fit(
    bags: BagOfWords, outcome: Outcome, strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [terms, labels] and biases [labels]; a label of one class keeps zeros."""
    positives, observed = outcome.positives(bags.train), outcome.observed(bags.train)
    if outcome.one_of:
        return _fit_classes(bags.regressions.terms, positives, observed, strength)
    weights, biases = bags.regressions.fit(positives, observed, strength)
    return weights.T, biases


def _fit_classes(
    terms: Any, positives: NDArray[np.bool_], observed: NDArray[np.bool_], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One regression over all classes; weights [terms, classes] and biases [classes].

    A class without a training admission gets the lowest bias.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(observed.any(axis=1))
    classes = positives[rows].argmax(axis=1)
    weights = np.zeros((terms.shape[1], positives.shape[1]))
    biases = np.full(positives.shape[1], RARE)
    present = np.unique(classes)
    if len(present) < 2:
        return weights, biases
    model = LogisticRegression(C=strength, solver="lbfgs", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(terms[rows], classes)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn then gives the second class alone
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weights[:, present], biases[present] = coefficients.T, intercepts
    return weights, biases
