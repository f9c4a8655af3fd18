"""Notes longer than is read at once: what the configuration asks for is what is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.data.states import States
from tasks.errors import ConfigError
from tasks.finetune import embed
from tasks.finetune.config import FinetuneConfig
from tasks.finetune.lesson import mean_macro_auroc
from tasks.finetune.members import UNFUSED
from tasks.finetune.stage import Training, _chunk, _tail_tokens
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.launch import LaunchConfig
from tasks.model.bases.files import positions_of
from tasks.model.bases.load import load_base
from tasks.model.classifier import load_classifier
from tasks.model.score import score
from tasks.model.trunk import freeze
from tasks.training.program import World
from tests.finetune.conftest import Inputs
from tests.finetune.test_frozen import embed_job
from tests.finetune.test_train import fitted, one_rank

CHUNK = 16  # tokens; the notes have about 50


def asked(**settings: object) -> FinetuneConfig:
    return FinetuneConfig.model_validate({"max_tokens": 100, **settings})


def test_how_many_tokens_are_read_at_once(inputs: Inputs, tmp_path: Path) -> None:
    positions = positions_of(inputs.base)
    assert positions is not None
    assert _chunk(asked(), inputs.base) is None
    assert _chunk(asked(long_notes="head_tail"), inputs.base) is None
    assert _chunk(asked(long_notes="chunks"), inputs.base) == positions
    for tokens in (CHUNK, positions + 1):
        given = asked(long_notes={"kind": "chunks", "tokens": tokens})
        assert _chunk(given, inputs.base) == min(tokens, positions)
    shutil.copytree(inputs.base, tmp_path / "base")
    described = json.loads((inputs.base / "config.json").read_text())
    del described["max_position_embeddings"]
    (tmp_path / "base" / "config.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match=r"set finetune\.long_notes\.tokens"):
        _chunk(asked(long_notes="chunks"), tmp_path / "base")


def test_how_many_of_the_last_tokens_are_read() -> None:
    assert _tail_tokens(asked()) == 0
    assert _tail_tokens(asked(long_notes="chunks")) == 0
    assert _tail_tokens(asked(long_notes="head_tail")) == 50
    assert _tail_tokens(asked(long_notes={"kind": "head_tail", "tail_share": 0.75})) == 75
    for share in (1 / 8, 7 / 8):
        shortest = {"kind": "head_tail", "tail_share": share}
        assert 0 < _tail_tokens(asked(max_tokens=8, long_notes=shortest)) < 8


def test_members_and_states_are_told(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr("tasks.finetune.stage.embed_notes", lambda job, **_: told.append(job.chunk))
    monkeypatch.setattr("tasks.finetune.stage.embed_titles", lambda **_: None)
    config = asked(members=["unfused"])
    parts = (inputs.base, None, {}, inputs.tokenizer, inputs.encoded)
    training = Training(config, LaunchConfig(), *parts, chunk=CHUNK)
    outcomes = {"diagnoses": inputs.diagnoses}
    assert training._job(UNFUSED, outcomes, {}, frozen=False).chunk == CHUNK
    training._job(UNFUSED, outcomes, {}, frozen=True)
    assert told == [CHUNK]


def test_a_decoder_learns_in_chunks_and_predicts_in_them(
    inputs: Inputs, world: World, tmp_path: Path
) -> None:
    job = inputs.job(UNFUSED, epochs=4, collapse_below=0).model_copy(update={"chunk": CHUNK})
    study = Study.read(job)
    assert study.inputs.lengths.min() > CHUNK
    model = build(study, world)
    result = fitted(study, model, world)
    losses = [row["loss"] for row in result.history if row["loss"] is not None]
    assert losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "member", result.state)
    values = {}
    for chunk in (CHUNK, None):
        loaded = load_classifier(load_base(inputs.base, chunk=chunk), tmp_path / "member", [])
        logits = score(loaded, study.inputs, study.validation_rows, world)
        values[chunk] = mean_macro_auroc(logits, study.outcomes, study.validation_rows)
    assert values[CHUNK] == pytest.approx(result.best_value, abs=1e-9)
    assert values[None] != pytest.approx(result.best_value, abs=1e-9)


def test_states_are_kept_of_chunks(inputs: Inputs, process_group: None, tmp_path: Path) -> None:
    job = embed_job(inputs, 1.0, encoded=inputs.encoded)
    job = job.model_copy(update={"summands": {}, "weights": {}, "chunk": CHUNK})
    embed.main(job, one_rank(tmp_path))
    kept = States.read(tmp_path)
    notes = Study.read(inputs.job()).inputs
    ids, present = (torch.from_numpy(array) for array in notes.padded(np.array([7])))
    with torch.no_grad():
        expected = freeze(load_base(inputs.base, chunk=CHUNK), []).states(ids, present)[0]
    torch.testing.assert_close(
        torch.from_numpy(kept.values[7]).float(), expected, rtol=2e-3, atol=2e-3
    )
