"""The baseline: TF-IDF of the same admission notes and one logistic regression a label.

What the terms are and C, one choice for all labels of an outcome, are those with the best macro
AUROC on validation, where the networks' epochs are chosen too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.baselines.config import TfidfConfig
from tasks.baselines.regressions import Regressions
from tasks.baselines.search import Settings, best_settings, expected_tries
from tasks.baselines.vocabularies import Terms, Vocabulary, weigh
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


def write_tfidf(
    out: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    tfidf: TfidfConfig,
    most: int | None,
    seed: int,
    cases_per_label: int | None = None,
) -> dict[str, int | float | str]:
    """Write out/tfidf/<outcome>/<split>.parquet for validation and test; return what was chosen.

    Learns from the same training admissions as the adapters (`most` of them, or so many a label,
    drawn by `seed`); the test split is only scored.
    """
    table = tables.read(cohort / "admissions", schemas.ADMISSIONS, ["hadm_id", "split", "note"])
    hadm_ids, splits = table["hadm_id"].to_numpy(), tuple(table["split"].to_pylist())
    lined_up = [read_outcome(name, path, hadm_ids) for name, path in outcomes.items()]
    train = training_rows(hadm_ids, splits, lined_up, most, seed, cases_per_label=cases_per_label)
    rows = {split: split_rows(splits, split) for split in SPLITS}
    counts: dict[str, int | float | str] = {
        "variant": TFIDF.name,
        "admissions_to_learn_from": len(train),
    }
    labels = sum(len(outcome.labels) for outcome in lined_up if not outcome.one_of)
    with Regressions(out / "work", expected=labels * expected_tries(tfidf)) as regressions:
        notes = Notes(table["note"].to_pylist(), train, rows, tfidf.max_features, regressions)
        for outcome in lined_up:
            trials = Trials(notes, outcome)
            best = best_settings(tfidf, trials.score)
            counts |= {
                f"{outcome.name}_longest_ngram": best.vocabulary.longest_ngram,
                f"{outcome.name}_stop_words": best.vocabulary.stop_words,
                f"{outcome.name}_C": best.strength,
                f"{outcome.name}_terms": notes.terms(best.vocabulary).train.shape[1],
            }
            for split, values in trials.best_scores.items():
                path = out / TFIDF.name / outcome.name / f"{split}.parquet"
                write_predictions(path, hadm_ids[rows[split]], values)
    write_variant(out / TFIDF.name, TFIDF)
    return counts


@dataclass(frozen=True)
class Weighed:
    """The terms of the notes in one vocabulary."""

    train: Terms
    splits: Mapping[str, Terms]  # those that are predicted


@dataclass(frozen=True)
class Notes:
    """The admissions' notes, and their terms in each vocabulary that was asked for."""

    texts: Sequence[str]
    train: Rows
    rows: Mapping[str, Rows]  # of the splits that are predicted
    max_features: int
    regressions: Regressions
    _weighed: dict[Vocabulary, Weighed] = field(default_factory=dict)

    def terms(self, vocabulary: Vocabulary) -> Weighed:
        if vocabulary not in self._weighed:
            matrix = weigh(self.texts, self.train, vocabulary, self.max_features)
            name = f"{vocabulary.longest_ngram}-{vocabulary.stop_words}"
            self._weighed[vocabulary] = Weighed(
                self.regressions.store(f"{name}-train", matrix[self.train]),
                {
                    split: self.regressions.store(f"{name}-{split}", matrix[rows])
                    for split, rows in self.rows.items()
                },
            )
        return self._weighed[vocabulary]


class Trials:
    """The settings that were tried on an outcome, and the predictions of the best of them."""

    def __init__(self, notes: Notes, outcome: Outcome) -> None:
        self.notes = notes
        self.outcome = outcome
        self.best_scores: dict[str, Scores] = {}  # of each split that is predicted
        self._tried: dict[Settings, float] = {}
        validation = notes.rows["validation"]
        self._truth = outcome.positives(validation), outcome.observed(validation)

    def score(self, settings: Settings) -> float:
        """The macro AUROC on validation, fitted once for each settings; -1 where undefined."""
        if settings not in self._tried:
            scores = self._fitted(settings)
            auroc = macro_auroc(self.outcome.rankable(scores["validation"]), *self._truth)
            auroc = -1.0 if np.isnan(auroc) else auroc
            if not self._tried or auroc > max(self._tried.values()):
                self.best_scores = scores
            self._tried[settings] = auroc
        return self._tried[settings]

    def _fitted(self, settings: Settings) -> dict[str, Scores]:
        """The predictions for each split."""
        terms = self.notes.terms(settings.vocabulary)
        weights, biases = self._fit(terms.train, settings.strength)
        return {
            split: np.asarray(of_split.read() @ weights + biases, np.float32)
            for split, of_split in terms.splits.items()
        }

    def _fit(
        self, terms: Terms, strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights [terms, labels] and biases [labels]; a label of one class keeps zeros."""
        train = self.notes.train
        positives, observed = self.outcome.positives(train), self.outcome.observed(train)
        if self.outcome.one_of:
            return _fit_classes(terms.read(), positives, observed, strength)
        weights, biases = self.notes.regressions.fit(terms, positives, observed, strength)
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
