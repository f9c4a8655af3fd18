"""The words that heads attend to, and what taking them out does, of members that learned a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks import schemas, tables
from tasks.data.predictions import read_predictions
from tasks.finetune import embed, explain, predict, train
from tasks.finetune.config import FinetuneConfig
from tasks.finetune.evidence import EvidenceConfig
from tasks.finetune.jobs import EvidenceJob, MemberJob
from tasks.finetune.members import UNFUSED
from tasks.finetune.stage import _predicting
from tasks.measures.faithfulness import areas
from tasks.measures.logistic import sigmoid
from tests.finetune.conftest import DIED, LABELS, Inputs, split_of
from tests.finetune.test_train import one_rank

TELLING = {(system, code): word for system, code, _, word in (*LABELS, DIED)}


def evidence_of(job: MemberJob, inputs: Inputs, folder: Path) -> Path:
    """Train, predict and gather; the folder of all three."""
    train.main(job, one_rank(folder / "adapter"))
    predict.main(_predicting(UNFUSED, job, folder / "adapter"), one_rank(folder / "predicted"))
    asked = EvidenceJob(
        member=job,
        adapter=folder / "adapter",
        predictions=folder / "predicted",
        variant=UNFUSED.name,
        cohort=inputs.cohort,
        config=EvidenceConfig(labels=2, admissions=8, words=3, draws=2),
    )
    explain.main(asked, one_rank(folder / "evidence"))
    return folder


@pytest.fixture(scope="module")
def gathered(inputs: Inputs, process_group: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = inputs.job(UNFUSED, epochs=5, seed=1)
    return evidence_of(job, inputs, tmp_path_factory.mktemp("evidence"))


def rows_of(folder: Path, name: str, schema: pa.Schema) -> list[dict[str, Any]]:
    return tables.read(folder / "evidence" / name, schema).to_pylist()


def test_the_word_that_tells_a_label_is_named_and_the_prediction_falls_without_it(
    gathered: Path, inputs: Inputs
) -> None:
    table = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS)
    notes = dict(zip(table["hadm_id"].to_pylist(), table["note"].to_pylist(), strict=True))
    words = rows_of(gathered, "words", schemas.EVIDENCE_WORDS)
    cases = rows_of(gathered, "evidence", schemas.EVIDENCE)
    assert len(cases) == 24
    assert len(words) == 3 * len(cases)
    falls = []
    for row in words:
        assert notes[row["hadm_id"]][row["start"] : row["end"]] == row["word"]
        assert split_of(row["hadm_id"]) == "test"
    for case in cases:
        named = (case["code_system"], case["code"])
        assert case["has_label"] == (TELLING[named] in notes[case["hadm_id"]])
        of_case = [
            row
            for row in words
            if (row["hadm_id"], row["code_system"], row["code"]) == (case["hadm_id"], *named)
        ]
        assert [row["rank"] for row in of_case] == [1, 2, 3]
        shares = [row["attention"] for row in of_case]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-6
        if case["has_label"]:
            assert of_case[0]["word"] == TELLING[named]
            first, second = (case["probability"] - row["without"] for row in of_case[:2])
            falls.append((case["probability"] - case["without"], first, abs(second)))
    assert len(falls) > 20
    all_three, first_alone, second_alone = np.median(falls, axis=0)
    assert all_three > 0.9
    assert first_alone > 0.9
    assert second_alone < 0.05  # it says nothing of the label


def test_the_whole_note_is_given_the_probability_that_was_predicted(gathered: Path) -> None:
    path = gathered / "predicted" / UNFUSED.name / "mortality" / "test.parquet"
    hadm_ids, logits = read_predictions(path)
    predicted = dict(zip(hadm_ids.tolist(), sigmoid(logits[:, 0].astype(float)), strict=True))
    rows = [
        row
        for row in rows_of(gathered, "evidence", schemas.EVIDENCE)
        if row["outcome"] == "mortality"
    ]
    found = [row["probability"] for row in rows]
    assert found == pytest.approx(sorted(predicted.values(), reverse=True)[:8], abs=1e-4)
    for row in rows:
        assert row["probability"] == pytest.approx(predicted[row["hadm_id"]], abs=1e-4)
        for curve, whole in (("deletion", 0), ("insertion", -1), ("random", 0)):
            assert len(row[curve]) == 11
            assert row[curve][whole] == row["probability"]
        assert row["deletion"][-1] == row["insertion"][0] == pytest.approx(row["random"][-1])


def test_attention_of_a_member_that_learned_its_words_beats_random_words(gathered: Path) -> None:
    rows = [
        row for row in rows_of(gathered, "evidence", schemas.EVIDENCE) if row["probability"] > 0.9
    ]
    deletion, insertion, random = (
        areas(np.array([row[name] for row in rows])).mean()
        for name in ("deletion", "insertion", "random")
    )
    assert deletion + 0.2 < random < insertion - 0.2


def test_heads_on_a_frozen_trunk_are_asked_on_the_trunk(
    inputs: Inputs, process_group: None, tmp_path: Path
) -> None:
    job = inputs.job(UNFUSED, adapter=None, epochs=2)
    notes = job.trunk.model_copy(update={"encoded": inputs.encoded})
    titles = job.trunk.model_copy(update={"outcomes": job.outcomes})
    embed.main(notes, one_rank(tmp_path / "states"))
    embed.main(titles, one_rank(tmp_path / "titles"))
    kept = {"states": tmp_path / "states", "titles": tmp_path / "titles"}
    gathered = evidence_of(job.model_copy(update=kept), inputs, tmp_path)
    test_the_whole_note_is_given_the_probability_that_was_predicted(gathered)


def test_a_head_without_attention_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValidationError, match=r"head is linear, which has none; set head to label"):
        FinetuneConfig.model_validate({"head": {"kind": "linear"}, "evidence": {}})
