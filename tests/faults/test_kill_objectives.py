"""kill -9 in the middle of the other objectives, and one rank more: the adapter is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.launch import LaunchConfig, launch
from tasks.model.adapters.methods import Lora
from tasks.pretrain.config import MaskingConfig, OntologyConfig, OntologyTraining
from tasks.pretrain.jobs import AdapterJob, EncoderReading, OntologyJob
from tasks.training.config import TrainingConfig
from tests.faults.test_kill_training import killed_at
from tests.pretrain.conftest import write_notes, write_splits
from tests.pretrain.encoders import write_encoder, write_ontology
from tests.pretrain.test_masked import write_corpus

ALONE = LaunchConfig(ranks=1, threads_per_rank=1)
TWO = LaunchConfig(ranks=2, threads_per_rank=1)
INTERVAL = 5  # steps between checkpoints
DROPOUT = Lora(rank=4, dropout=0.1)  # so that the random numbers must be resumed as well

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, corpus/ and ontology/."""
    root = tmp_path_factory.mktemp("objectives")
    tokenizer = LoadedTokenizer.load(write_encoder(root / "base", with_output=False))
    write_notes(root / "notes")
    write_splits(root / "splits")
    write_corpus(root / "corpus", root, tokenizer, "train")
    write_ontology(root / "ontology")
    return root


MODULES = {
    "masked words": "tasks.pretrain.train",
    "planted titles": "tasks.pretrain.ontology",
    "sentences": "tasks.pretrain.ontology",
}


def job_of(objective: str, prepared: Path) -> AdapterJob | OntologyJob:
    base, corpus = prepared / "base", prepared / "corpus"
    if objective == "masked words":
        return AdapterJob(
            base=base,
            corpus=corpus,
            adapter=DROPOUT,
            epochs=30,
            max_tokens=48 * 8 * 40,
            training=TrainingConfig(
                learning_rate=5e-3,
                batch_size=8,
                micro_batch_size=4,  # on one rank or two, so that dropout is the same
                checkpoint_every_steps=INTERVAL,
            ),
            encoder=EncoderReading(tokenizer=base, masking=MaskingConfig()),
        )
    training = OntologyTraining(
        batch_size=4, precision="fp32", checkpoint_every_steps=INTERVAL, learning_rate=3e-3
    )
    ontology = prepared / "ontology"
    if objective == "sentences":
        training = training.model_copy(update={"micro_batch_size": 2})  # on one rank or two
        config = OntologyConfig(objective="sentences", adapter=DROPOUT, training=training, steps=40)
        return OntologyJob(base=base, tokenizer=base, corpus=None, ontology=ontology, config=config)
    config = OntologyConfig(
        adapter=DROPOUT, training=training, steps=40, span=12, planted=2, categories=8
    )
    return OntologyJob(base=base, tokenizer=base, corpus=corpus, ontology=ontology, config=config)


def losses(out: Path) -> list[float]:
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    return [row["loss"] for row in rows]


def counted(out: Path) -> dict[str, float]:
    """What was counted, but for what it cost, which is not the same twice."""
    counts = json.loads((out / "work" / "counts.json").read_text())
    return {
        name: value
        for name, value in counts.items()
        if name != "training_seconds" and not name.startswith("joules")
    }


@pytest.mark.parametrize("objective", MODULES)
def test_killed_and_resumed_or_on_two_ranks_it_is_the_same(
    objective: str, prepared: Path, tmp_path: Path
) -> None:
    module, job = MODULES[objective], job_of(objective, prepared)
    whole, broken, shared = (tmp_path / name for name in ("whole", "broken", "shared"))
    launch(module, job, whole / "work", ALONE)
    killed_at(job, broken / "work", 12, module, ranks=1)
    assert not (broken / "adapter_model.safetensors").exists()
    notes: list[str | None] = []
    launch(module, job, broken / "work", ALONE, on_progress=lambda each: notes.append(each.note))
    assert str(notes[0]).startswith("resumed from step ")
    assert losses(broken) == losses(whole)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert counted(broken) == counted(whole)

    launch(module, job, shared / "work", TWO)
    assert losses(shared) == pytest.approx(losses(whole), rel=1e-3)
    expected = load_file(whole / "adapter_model.safetensors")
    for name, tensor in load_file(shared / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=1e-3)
