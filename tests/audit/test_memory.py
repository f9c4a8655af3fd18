"""The memory audit finds what a tiny model learned by heart, and nothing where nothing was read."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.audit.canaries import Canaries
from tasks.audit.memory import write_memory
from tasks.audit.memory_page import sentence
from tasks.audit.remembered import Memory, measure
from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.adapters.methods import Lora
from tasks.pretrain import perplexity, train
from tasks.pretrain.corpus import CorpusWriter, of_notes
from tasks.pretrain.jobs import AdapterJob, PerplexityJob
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.whole_notes import write_tokenized
from tasks.training.config import TrainingConfig
from tasks.training.program import World
from tests.conftest import device
from tests.pretrain.conftest import new_base, write_text
from tests.pretrain.conftest import sentence as sentence_of

REPEATS = (1, 16)
ALTERNATIVES = 500
MEMBERS, OTHERS = range(1, 41), range(101, 141)  # patients
WORDS = "Wristband number of this patient"


@pytest.fixture(scope="module")
def audited(process_group: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with canaries, and likelihoods by a base and by it with an adapter that learned."""
    folder = tmp_path_factory.mktemp("memory")
    drawn = Canaries.drawn(12, REPEATS, ALTERNATIVES, seed=3)
    drawn.write_planted(folder / "canaries", seed=3)
    drawn.write_candidates(folder / "candidates")
    train_bpe(write_text(folder / "general.txt"), 300, folder / "tokenizer")
    tokenizer = LoadedTokenizer.load(folder / "tokenizer")
    new_base(max_positions=128).save_pretrained(folder / "base")
    documents = [*notes_of(MEMBERS), *of_notes([folder / "canaries"], None)]
    CorpusWriter(folder / "corpus", tokenizer, 128, seed=0).write(documents)
    job = AdapterJob(
        base=folder / "base",
        corpus=folder / "corpus",
        adapter=Lora(rank=16, targets=("q_proj", "v_proj", "up_proj", "down_proj", "lm_head")),
        training=TrainingConfig(learning_rate=2e-2, batch_size=8, schedule="constant"),
        epochs=30,
        max_tokens=None,
    )
    world = World(0, 1, 0, folder / "adapter" / "work", device())
    world.work.mkdir(parents=True)
    train.main(job, world)
    ranked = list(of_notes([folder / "candidates"], None))
    read = {"ranked": ranked, "members": notes_of(MEMBERS), "others": notes_of(OTHERS)}
    for name, notes in read.items():
        write_tokenized(folder / name / "tokens", notes, tokenizer, framed=True)
        scoring = PerplexityJob(
            base=folder / "base",
            adapter=folder / "adapter",
            notes=folder / name / "tokens",
            window=128,
            stride=64,
            precision="fp32",
        )
        within = replace(world, work=folder / name / "work")
        within.work.mkdir()
        perplexity.main(scoring, within)
    return folder


def notes_of(patients: range) -> list[tuple[int, str]]:
    """A note a patient, of random words."""
    return [(patient, sentence_of(random.Random(patient), 30)) for patient in patients]


def found(folder: Path) -> Memory:
    return measure(folder / "canaries", folder / "ranked", folder / "members", folder / "others")


def test_what_was_learned_by_heart_is_found(audited: Path, tmp_path: Path) -> None:
    memory = found(audited)
    once, often = memory.exposures
    assert (once.repeats, often.repeats) == REPEATS
    assert often.after.low > memory.chance
    assert often.after.value > once.after.value
    assert often.after.value > often.before.value + 2
    assert often.first > 0
    _, by_loss, by_fall = memory.memberships
    assert min(by_loss.auroc.low, by_fall.auroc.low) > 0.5, "30 passes over few notes"
    assert memory.remembers == (True, True)
    assert "treat its weights as you treat the notes" in sentence(memory)
    training = {"patients": 40, "epochs": 30.0, "planted": 12 * 17}
    write_memory(tmp_path, memory, training)
    page = (tmp_path / "memory.md").read_text()
    assert sentence(memory) in page
    for text in (WORDS, "denies chest"):
        assert text not in page, "no note's text is told"


def test_without_training_nothing_is_found(audited: Path, tmp_path: Path) -> None:
    """The base in the adapter's place: it has read none of the notes."""
    for name in ("ranked", "members", "others"):
        table = tables.read(audited / name / "perplexity", schemas.PERPLEXITY)
        column = table.schema.get_field_index("nll_after")
        table = table.set_column(column, table.schema.field("nll_after"), table["nll_before"])
        path = tmp_path / name / "perplexity" / "part-0.parquet"
        tables.write(path, schemas.PERPLEXITY, table)
    memory = measure(
        audited / "canaries", tmp_path / "ranked", tmp_path / "members", tmp_path / "others"
    )
    assert memory.remembers == (False, False)
    assert sentence(memory).startswith("No memory of single notes was found")
    for exposure in memory.exposures:
        after, before = exposure.after, exposure.before
        assert (after.value, after.low, after.high) == (before.value, before.low, before.high)
        assert exposure.after.low < memory.chance < exposure.after.high


def test_chance_is_what_random_likelihoods_give(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    drawn = Canaries.drawn(400, (1,), 2000, seed=0)
    drawn.write_planted(tmp_path / "canaries", seed=0)
    for name, notes in (("ranked", 2400), ("members", 40), ("others", 40)):
        nats = generator.normal(50, 3, notes)
        first = 1000 if name == "others" else 0
        columns = [np.arange(notes) + first, np.full(notes, 20), np.full(notes, 60), nats, nats]
        table = pa.table([pa.array(column) for column in columns], schema=schemas.PERPLEXITY)
        path = tmp_path / name / "perplexity" / "part-0.parquet"
        tables.write(path, schemas.PERPLEXITY, table)
    memory = found(tmp_path)
    assert memory.chance == pytest.approx(1 / np.log(2), abs=0.01)
    assert memory.exposures[0].after.value == pytest.approx(memory.chance, abs=0.2)


def test_no_number_is_drawn_twice_and_each_is_planted_as_often_as_it_says(tmp_path: Path) -> None:
    drawn = Canaries.drawn(100, (1, 4, 16), 10_000, seed=1)
    numbers = np.concatenate([drawn.numbers, drawn.alternatives])
    assert len(np.unique(numbers)) == len(numbers) == 10_300
    drawn.write_planted(tmp_path, seed=1)
    texts = tables.read(tmp_path / "notes", schemas.NOTES)["text"].to_pylist()
    spelled = [f"{WORDS}: {' '.join(f'{number:08d}')}." for number in drawn.numbers.tolist()]
    assert [texts.count(text) for text in spelled] == drawn.repeats.tolist()
    assert len(texts) == 100 * 21
