"""The baseline: scikit-learn's own model on the observed cells, C chosen on validation alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasks import schemas, tables
from tasks.baselines.config import TfidfConfig
from tasks.baselines.steps import fit_tfidf
from tasks.baselines.tfidf import write_tfidf
from tasks.data.outcomes import read_outcome
from tasks.measures.ranking import macro_auroc
from tests.digests import digest_of
from tests.finetune.conftest import LABELS, Inputs, split_of, system_of

PLAIN: dict[str, Any] = {"longest_ngrams": (1,), "stop_words": ("none",)}
SETTINGS = TfidfConfig(strengths=(0.01, 1.0, 100.0), **PLAIN)


def logits(place: Path, split: str, outcome: str = "diagnoses") -> tuple[list[int], Any]:
    table = pq.read_table(place / "tfidf" / outcome / f"{split}.parquet")
    return table["hadm_id"].to_pylist(), np.array(table["logits"].to_pylist())


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tfidf")
    counts = write_tfidf(out, inputs.cohort, {"diagnoses": inputs.diagnoses}, SETTINGS, None, 0)
    (out / "C").write_text(str(counts["diagnoses_C"]))
    return out


def test_a_labels_scores_are_scikit_learns_on_its_own_code_systems_admissions(
    inputs: Inputs, fitted: Path
) -> None:
    rows = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS).to_pylist()
    notes = {row["hadm_id"]: row["note"] for row in rows}
    train = [h for h in notes if split_of(h) == "train" and system_of(h)]
    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    vectorizer.fit([notes[h] for h in train])
    ids, found = logits(fitted, "test")
    assert ids == [h for h in notes if split_of(h) == "test"]
    terms = vectorizer.transform([notes[h] for h in ids])
    for label, (system, _, _, word) in enumerate(LABELS):
        own = [h for h in train if system_of(h) == system]
        model = LogisticRegression(C=float((fitted / "C").read_text()), max_iter=200)
        model.fit(
            vectorizer.transform([notes[h] for h in own]), [word in notes[h].split() for h in own]
        )
        expected = model.decision_function(terms)
        np.testing.assert_allclose(found[:, label], expected, rtol=1e-3, atol=1e-4)


def test_the_scores_are_those_of_the_steps_version(fitted: Path) -> None:
    assert (fit_tfidf.version, digest_of(fitted / "tfidf")) == (3, "0c477fc000a37f92")


def test_the_strength_is_the_one_that_validates_best(
    inputs: Inputs, fitted: Path, tmp_path: Path
) -> None:
    values = {}
    for strength in SETTINGS.strengths:
        only = TfidfConfig(strengths=(strength,), **PLAIN)
        out = tmp_path / str(strength)
        write_tfidf(out, inputs.cohort, {"diagnoses": inputs.diagnoses}, only, None, 0)
        ids, scores = logits(out, "validation")
        outcome = read_outcome("diagnoses", inputs.diagnoses, np.array(ids))
        every = np.arange(len(ids))
        truth = outcome.positives(every), outcome.observed(every)
        values[strength] = macro_auroc(scores.astype(np.float32), *truth)
    assert float((fitted / "C").read_text()) == max(values, key=lambda each: values[each])


def test_what_the_test_patients_have_and_say_moves_nothing(
    inputs: Inputs, fitted: Path, tmp_path: Path
) -> None:
    """Other test notes and outcomes give the same scores on validation, to the bit."""
    table = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS)
    changed = [
        {**row, "note": "quite other words"} if row["split"] == "test" else row
        for row in table.to_pylist()
    ]
    cohort = tmp_path / "cohort"
    tables.write(
        cohort / "admissions" / "part-0.parquet",
        schemas.ADMISSIONS,
        pa.Table.from_pylist(changed, schemas.ADMISSIONS),
    )
    outcome = tmp_path / "diagnoses"
    shutil.copytree(inputs.diagnoses / "labels", outcome / "labels")
    rows = tables.read(inputs.diagnoses / "outcomes", schemas.OUTCOMES).to_pylist()
    emptied = [{**row, "labels": []} if split_of(row["hadm_id"]) == "test" else row for row in rows]
    tables.write(
        outcome / "outcomes" / "part-0.parquet",
        schemas.OUTCOMES,
        pa.Table.from_pylist(emptied, schemas.OUTCOMES),
    )
    write_tfidf(tmp_path / "out", cohort, {"diagnoses": outcome}, SETTINGS, None, 0)
    expected, found = logits(fitted, "validation"), logits(tmp_path / "out", "validation")
    assert np.array_equal(expected[1], found[1])


def test_classes_are_fitted_together_as_scikit_learn_does(inputs: Inputs, tmp_path: Path) -> None:
    settings = TfidfConfig(strengths=(10.0,), **PLAIN)
    write_tfidf(tmp_path, inputs.cohort, {"triage": inputs.triage}, settings, None, 0)
    rows = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS).to_pylist()
    notes = {row["hadm_id"]: row["note"] for row in rows}
    outcome = read_outcome("triage", inputs.triage, np.array(list(notes)))
    classes = outcome.positives(np.arange(len(notes))).argmax(axis=1)
    train = [place for place, hadm_id in enumerate(notes) if split_of(hadm_id) == "train"]
    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    texts = list(notes.values())
    terms = vectorizer.fit_transform([texts[place] for place in train])
    model = LogisticRegression(C=10.0, max_iter=200).fit(terms, classes[train])
    ids, found = logits(tmp_path, "test", "triage")
    expected = model.decision_function(vectorizer.transform([notes[h] for h in ids]))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


def test_a_label_without_cases_in_training_gets_no_opinion(inputs: Inputs, tmp_path: Path) -> None:
    outcome = tmp_path / "diagnoses"
    shutil.copytree(inputs.diagnoses / "labels", outcome / "labels")
    rows = tables.read(inputs.diagnoses / "outcomes", schemas.OUTCOMES).to_pylist()
    without = [{**row, "labels": [each for each in row["labels"] if each != 3]} for row in rows]
    tables.write(
        outcome / "outcomes" / "part-0.parquet",
        schemas.OUTCOMES,
        pa.Table.from_pylist(without, schemas.OUTCOMES),
    )
    write_tfidf(tmp_path / "out", inputs.cohort, {"diagnoses": outcome}, SETTINGS, None, 0)
    _, scores = logits(tmp_path / "out", "test")
    assert (scores[:, 3] == 0).all()
    assert (scores[:, :3] != 0).all()
