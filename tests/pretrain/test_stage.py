"""The whole stage through Prefect, from notes to adapter and perplexity, on two ranks."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from prefect import flow
from transformers import AutoModelForCausalLM

from tasks import schemas, tables
from tasks.errors import ConfigError, ModelError
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.adapters.methods import Lora
from tasks.model.bases.config import PathBase, ScratchBase
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.packing import NO_PATIENT, PADDING
from tasks.pretrain.stage import Pretrained, Texts, pretrain
from tasks.pretrain.whole_notes import read_tokenized
from tasks.step import Counts, step
from tasks.store import Store
from tasks.training.config import TrainingConfig
from tests.data.test_tokenizer import sentence_piece
from tests.pretrain.conftest import TRAIN, VALIDATION, write_notes, write_splits

pytestmark = pytest.mark.slow

# (version, digest) of the steps that train nothing; a step whose bytes change needs a new version
DIGESTS = {
    "tokenizer": (1, "935ff7d074422e3e"),
    "corpus": (3, "484bf84ef399b8e8"),
    "validation notes": (1, "8a220400e7479c15"),
}


@step("notes", version=1)
def some_notes(out: Path) -> Counts:
    """Notes of every split."""
    write_notes(out)
    return {}


@step("splits", version=1)
def some_splits(out: Path) -> Counts:
    """Their patients' splits."""
    write_splits(out)
    return {}


@flow(persist_result=False, result_serializer="json")
def stage(config: PretrainConfig, launch: LaunchConfig) -> Pretrained:
    return pretrain(config, launch, Texts((some_notes(),), some_splits(), {}, None))


@dataclass
class Run:
    config: PretrainConfig
    made: Pretrained
    store: Store

    def place(self, artifact: Artifact | Path) -> Path:
        if isinstance(artifact, Path):
            return artifact
        return self.store.path(artifact.kind, artifact.key)


@pytest.fixture(scope="module")
def ran(
    prefect_server: None, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    config = PretrainConfig(
        base=ScratchBase(
            corpus=inputs / "general.txt",
            vocabulary_size=300,
            hidden_size=32,
            heads=2,
            sequence_length=64,
            epochs=3,
            training=TrainingConfig(learning_rate=3e-3, batch_size=8),
        ),
        adapter=Lora(rank=4),
        sequence_length=64,
        epochs=3,
        training=TrainingConfig(learning_rate=1e-2, batch_size=8),
    )
    root = tmp_path_factory.mktemp("store") / "store"
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(root)}):
        made = stage(config, LaunchConfig(ranks=2, threads_per_rank=1))
        yield Run(config, made, Store(root))


def owners(place: Path) -> set[int]:
    corpus = Corpus(place)
    return {owner for row in range(len(corpus)) for owner in corpus[row].subject_ids} - {PADDING}


def test_each_corpus_holds_its_own_patients_only(ran: Run) -> None:
    assert owners(ran.place(ran.made.corpus)) == set(TRAIN)
    assert isinstance(ran.made.validation_notes, Artifact)
    batches = list(read_tokenized(ran.place(ran.made.validation_notes)))
    assert {owner for batch in batches for owner in batch.subject_ids} == set(VALIDATION)
    general = next(
        manifest for manifest in ran.store.manifests() if manifest.counts.get("patients") == 0
    )
    assert owners(ran.store.path("corpus", general.key)) == {NO_PATIENT}


def test_peft_loads_the_adapter_on_the_base(ran: Run) -> None:
    base = AutoModelForCausalLM.from_pretrained(ran.place(ran.made.base))
    before = base(input_ids=torch.arange(3, 20)[None]).logits
    model = PeftModel.from_pretrained(base, str(ran.place(ran.made.adapters["clinical"]))).eval()
    after = model(input_ids=torch.arange(3, 20)[None]).logits
    assert (after - before).abs().max() > 0.01
    with model.disable_adapter():
        assert torch.equal(model(input_ids=torch.arange(3, 20)[None]).logits, before)


def test_both_trainings_learn_and_say_how_much_they_read(ran: Run) -> None:
    for artifact, arm in ((ran.made.base, "base"), (ran.made.adapters["clinical"], "clinical")):
        assert isinstance(artifact, Artifact)
        rows = tables.read(ran.place(artifact) / "history.parquet", schemas.HISTORY).to_pylist()
        assert {row["arm"] for row in rows} == {arm}
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        assert rows[-1]["loss"] < rows[0]["loss"] - 0.2
        assert rows[-1]["tokens"] == artifact.counts["tokens"]
        assert rows[-1]["epoch"] == pytest.approx(3, abs=0.5)
    linears = 4 * (32 + 32) + 2 * (32 + 96) + (96 + 32)
    assert ran.made.adapters["clinical"].counts["trained_parameters"] == 2 * 4 * linears


def test_the_adapter_reads_unseen_patients_better(ran: Run) -> None:
    place = ran.place(ran.made.perplexity) / "perplexity"
    rows = tables.read(place, schemas.PERPLEXITY).to_pylist()
    counts = ran.made.perplexity.counts
    assert [row["subject_id"] for row in rows] == [owner for owner in VALIDATION for _ in "ab"]
    tokens = sum(row["tokens"] for row in rows)
    # every token but the first of each of the two notes of a patient
    notes = ran.made.validation_notes.counts
    assert tokens == counts["tokens"] == notes["tokens"] - notes["notes"]
    assert (counts["window"], counts["stride"]) == (64, 32)
    before, after = (
        math.exp(sum(row[name] for row in rows) / tokens) for name in ("nll_before", "nll_after")
    )
    assert counts["perplexity_before"] == pytest.approx(before, rel=1e-5)
    assert counts["perplexity_after"] == pytest.approx(after, rel=1e-5)
    assert after < before * 0.9
    texts = tables.read(
        ran.place(some_notes_of(ran)) / "notes", schemas.NOTES, ["subject_id", "text"]
    ).to_pylist()
    # the tokenizer begins a note with a marker, so that all of its bytes are scored
    sizes = [len(row["text"].encode()) for row in texts if row["subject_id"] in VALIDATION]
    assert [row["bytes"] for row in rows] == sizes
    bits = sum(row["nll_after"] for row in rows) / math.log(2) / sum(sizes)
    assert counts["bits_per_byte_after"] == pytest.approx(bits, rel=1e-5)


def some_notes_of(ran: Run) -> Path:
    (manifest,) = (each for each in ran.store.manifests() if each.kind == "notes")
    return ran.store.path("notes", manifest.key)


def test_the_number_of_ranks_is_not_part_of_the_key(ran: Run) -> None:
    again = stage(ran.config, LaunchConfig(ranks=1))
    assert again == ran.made


def test_a_base_from_a_path_is_refused_before_anything_is_made(ran: Run, tmp_path: Path) -> None:
    before = ran.store.manifests()
    local = ran.config.model_copy(update={"base": PathBase(path=tmp_path)})
    with pytest.raises(ModelError, match=r"is not a model directory \(no config\.json\)"):
        stage(local, LaunchConfig())
    for path in ran.place(ran.made.base).glob("*.*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(ModelError, match=r"has neither tokenizer\.json nor tokenizer\.model"):
        stage(local, LaunchConfig())
    lora = Lora(targets=("q_prj",))
    for config in (ran.config, local):
        with pytest.raises(ConfigError, match="'q_prj', of which the base has no layer"):
            stage(config.model_copy(update={"adapter": lora}), LaunchConfig())
        shutil.copy(ran.place(ran.made.tokenizer) / "tokenizer.json", tmp_path)
    assert ran.store.manifests() == before


def test_a_converted_tokenizer_must_fit_the_embedding(ran: Run, tmp_path: Path) -> None:
    sentence_piece(tmp_path)  # of 340 pieces
    (tmp_path / "tokenizer.json").unlink()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(ran.place(ran.made.base) / name, tmp_path)
    with pytest.raises(ModelError, match="embedding has 300 rows, and 40 tokens"):
        stage(ran.config.model_copy(update={"base": PathBase(path=tmp_path)}), LaunchConfig())


def test_the_adapter_names_its_base_and_whether_it_was_packed(ran: Run) -> None:
    described = json.loads(
        (ran.place(ran.made.adapters["clinical"]) / "adapter_config.json").read_text()
    )
    assert isinstance(ran.made.base, Artifact)
    assert described["base_model_name_or_path"] == f"base/{ran.made.base.key}"
    assert str(ran.store.root) not in json.dumps(described)
    assert ran.made.adapters["clinical"].counts["layout"] == "packed"


def test_the_adapter_carries_the_terms_of_its_notes(ran: Run) -> None:
    card = (ran.place(ran.made.adapters["clinical"]) / "README.md").read_text()
    assert "license_name: source-data-use-agreement" in card
    assert "do not share them" in card
    assert isinstance(ran.made.base, Artifact)
    assert f"on the base base/{ran.made.base.key}" in card


def test_what_the_training_cost_is_counted(ran: Run) -> None:
    counts = ran.made.adapters["clinical"].counts
    # 2 x 32 wide: four squares, three of the MLP of 96, and the output layer of 300 pieces; the
    # embedding is looked up
    frozen = 2 * (4 * 32 * 32 + 3 * 32 * 96) + 300 * 32
    trained = counts["trained_parameters"]
    least, most = (4 * frozen + 6 * trained + 12 * 2 * 32 * attended for attended in (1, 64))
    assert least < counts["flops"] / counts["tokens"] < most
    assert counts["training_seconds"] > 0
    assert "cost" not in counts, "no price was given"


def test_the_bytes_of_the_deterministic_steps_are_those_of_their_version(ran: Run) -> None:
    named = {
        "tokenizer": ran.made.tokenizer,
        "corpus": ran.made.corpus,
        "validation notes": ran.made.validation_notes,
    }
    found = {}
    for name, each in named.items():
        assert isinstance(each, Artifact)
        manifest = ran.store.manifest(each.kind, each.key)
        assert manifest is not None
        found[name] = (manifest.version, each.digest[:16])
    assert found == DIGESTS
