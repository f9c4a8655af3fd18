"""What saves memory changes no loss: activations computed twice, and states kept on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.methods import Lora
from tasks.pretrain.config import MaskingConfig
from tasks.pretrain.corpus import CorpusWriter, of_notes, patients_of
from tasks.pretrain.jobs import AdapterJob, EncoderReading
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.train import main
from tasks.training.config import TrainingConfig
from tasks.training.program import World
from tests.pretrain.conftest import write_base
from tests.pretrain.encoders import write_encoder
from tests.pretrain.test_masked import write_corpus

OFFLOAD = Path(__file__).parents[2] / "configs" / "deepspeed" / "offload-zero2.json"


@pytest.fixture(scope="module", params=["decoder", "encoder"])
def job(
    request: pytest.FixtureRequest, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> AdapterJob:
    root = tmp_path_factory.mktemp(request.param)
    reading = None
    if request.param == "encoder":
        tokenizer = LoadedTokenizer.load(write_encoder(root / "base", with_output=True))
        write_corpus(root / "corpus", inputs, tokenizer, "train")
        reading = EncoderReading(tokenizer=root / "base", masking=MaskingConfig())
    else:
        train_bpe(inputs / "general.txt", 300, root / "tokenizer")
        tokenizer = LoadedTokenizer.load(root / "tokenizer")
        notes = of_notes([inputs / "notes"], patients_of(inputs / "splits", "train"))
        CorpusWriter(root / "corpus", tokenizer, 64, seed=0).write(notes)
        write_base(root / "base")
    return AdapterJob(
        base=root / "base",
        corpus=root / "corpus",
        adapter=Lora(rank=4, dropout=0.1),  # whose random numbers must be the same the second time
        epochs=1,
        max_tokens=64 * 8 * 6,
        training=TrainingConfig(learning_rate=5e-3, batch_size=8),
        encoder=reading,
    )


def losses(job: AdapterJob, world: World, place: Path, **settings: Any) -> list[float]:
    training = job.training.model_copy(update=settings)
    work = place / "work"
    work.mkdir(parents=True)
    main(job.model_copy(update={"training": training}), replace(world, work=work))
    rows = tables.read(place / "history.parquet", schemas.HISTORY).to_pylist()
    return [row["loss"] for row in rows]


def test_the_losses_are_the_same(job: AdapterJob, world: World, tmp_path: Path) -> None:
    plain = losses(job, world, tmp_path / "plain")
    assert len(set(plain)) > 3
    twice = losses(job, world, tmp_path / "twice", gradient_checkpointing=True)
    assert twice == pytest.approx(plain, rel=1e-5)
    offloaded = losses(job, world, tmp_path / "offloaded", deepspeed=OFFLOAD)
    assert offloaded == pytest.approx(plain, rel=1e-5)
