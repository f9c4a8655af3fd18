"""TF-IDF's settings: what is chosen on validation, and how few fits that takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from tasks import schemas, tables
from tasks.baselines.config import TfidfConfig
from tasks.baselines.search import Settings, best_settings
from tasks.baselines.tfidf import write_tfidf
from tasks.data.outcomes import read_outcome
from tasks.measures.ranking import macro_auroc
from tests.finetune.conftest import DIED, split_of, write_outcome

HADM_IDS = range(9000, 9600)


def searched(score: Callable[[Settings], float]) -> tuple[tuple[int, str, float], int]:
    """The settings that are chosen, and how many were tried."""
    tried: dict[Settings, float] = {}

    def remembered(settings: Settings) -> float:
        return tried.setdefault(settings, score(settings))

    best = best_settings(TfidfConfig(), remembered)
    chosen = (best.vocabulary.longest_ngram, best.vocabulary.stop_words, best.strength)
    return chosen, len(tried)


@pytest.mark.parametrize("ngram", [1, 2])
@pytest.mark.parametrize("words", ["none", "english"])
@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0, 10.0, 100.0])
def test_the_best_is_found_in_half_the_fits_of_a_grid(
    ngram: int, words: str, strength: float
) -> None:
    def score(settings: Settings) -> float:
        vocabulary = settings.vocabulary
        apart = abs(np.log10(settings.strength / strength))
        return (vocabulary.longest_ngram == ngram) + (vocabulary.stop_words == words) - apart

    chosen, tried = searched(score)
    assert chosen == (ngram, words, strength)
    assert tried <= 10  # of 20


def test_where_c_moves_the_vocabulary_is_chosen_anew() -> None:
    """Two words are better at the middle C, one at the best C."""

    def score(settings: Settings) -> float:
        single = settings.vocabulary.longest_ngram == 1
        return {1.0: 0.70, 10.0: 0.80}.get(settings.strength, 0.5) + 0.01 * (
            single == (settings.strength == 10.0)
        )

    assert searched(score)[0] == (1, "none", 10.0)


def test_what_says_nothing_keeps_the_first_settings() -> None:
    assert searched(lambda _: -1.0)[0] == (1, "none", 1.0)


def test_a_larger_c_is_not_fitted_where_a_smaller_one_is_better() -> None:
    strengths = []
    searched(lambda settings: strengths.append(settings.strength) or -settings.strength)  # type: ignore[func-returns-value]
    assert max(strengths) == 1.0
    assert min(strengths) == 0.01


def test_a_value_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="given twice in strengths; give each once"):
        TfidfConfig(strengths=(1.0, 1.0))


@pytest.mark.parametrize(
    ("of_cases", "of_controls", "expected"),
    [
        # the order of two words tells: single words are the same in all notes
        ("fluid overload not pain", "not fluid pain overload", "longest_ngram"),
        # what tells is drowned by English stop words, in each note others
        ("edema", "cough", "stop_words"),
    ],
)
def test_what_matters_is_chosen_on_validation(
    tmp_path: Path, of_cases: str, of_controls: str, expected: str
) -> None:
    draw = np.random.default_rng(1)
    noisy = sorted(ENGLISH_STOP_WORDS)
    rows, words = [], {}
    for hadm_id in HADM_IDS:
        case = draw.random() < 0.4
        words[hadm_id] = {DIED[3]} if case else set()
        swapped = draw.random() < 0.1  # so that nothing is certain
        note = of_cases if case != swapped else of_controls
        if expected == "stop_words":
            telling = f"{note}{draw.integers(30)}"  # each in a few notes only
            note = " ".join(draw.permutation([telling, *draw.choice(noisy, 60)]))
        rows.append(
            {"hadm_id": hadm_id, "subject_id": hadm_id, "split": split_of(hadm_id), "note": note}
        )
    table = pa.Table.from_pylist(rows, schemas.ADMISSIONS)
    tables.write(tmp_path / "cohort/admissions/part-0.parquet", schemas.ADMISSIONS, table)
    write_outcome(tmp_path / "mortality", (DIED,), words)
    outcomes = {"mortality": tmp_path / "mortality"}
    counts = write_tfidf(tmp_path / "free", tmp_path / "cohort", outcomes, TfidfConfig(), None, 0)
    assert (
        counts[f"mortality_{expected}"] == {"longest_ngram": 2, "stop_words": "english"}[expected]
    )
    plain = TfidfConfig(longest_ngrams=(1,), stop_words=("none",))
    write_tfidf(tmp_path / "plain", tmp_path / "cohort", outcomes, plain, None, 0)
    assert auroc(tmp_path, "free") > auroc(tmp_path, "plain") + 0.01


def auroc(folder: Path, name: str) -> float:
    """On test, which nothing was chosen on."""
    table = pq.read_table(folder / name / "tfidf" / "mortality" / "test.parquet")
    scores = np.array(table["logits"].to_pylist(), np.float32)
    outcome = read_outcome("mortality", folder / "mortality", table["hadm_id"].to_numpy())
    every = np.arange(len(scores))
    return macro_auroc(scores, outcome.positives(every), outcome.observed(every))
