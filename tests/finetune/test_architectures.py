"""Whatever the architecture, a base is trained, fused and read back exactly, or refused at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.finetune.collapse import Collapse
from tasks.finetune.study import Study
from tasks.finetune.train import build, fit
from tasks.model.adapters.build import language_model
from tasks.model.adapters.methods import BaseName, Lora
from tasks.model.bases.causal import trunk, untie
from tasks.model.bases.load import load_base
from tasks.model.classifier import Summand, load_classifier
from tasks.model.score import score
from tasks.pretrain import perplexity, train
from tasks.pretrain.corpus import Corpus, CorpusWriter, of_notes
from tasks.pretrain.jobs import AdapterJob, PerplexityJob
from tasks.pretrain.packing import Packed, alone, pieces
from tasks.training.config import TrainingConfig
from tasks.training.program import World
from tests.finetune.conftest import Inputs
from tests.model.architectures import APART, PACKED, POSITIONS, REFUSED, write_base
from tests.pretrain.conftest import write_notes

pytestmark = pytest.mark.slow

BATCH = 8  # sequences
BASE = BaseName(name="some/base", revision="0" * 40)


@dataclass(frozen=True)
class Trained:
    """A tiny base and what pretraining made of it."""

    base: Path
    clinical: Path
    corpus: Path
    world: World


@pytest.fixture(scope="module")
def corpus(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    notes = list(of_notes([write_notes(folder / "notes")], None))[:24]
    CorpusWriter(folder, LoadedTokenizer.load(inputs.tokenizer), POSITIONS, 0).write(notes)
    return folder


def pretrain(name: str, corpus: Path, world: World, **lora: object) -> Trained:
    base = write_base(name, world.work / "base")
    job = AdapterJob(
        base=base,
        base_name=BASE,
        adapter=Lora.model_validate({"rank": 4} | lora),
        corpus=corpus,
        epochs=1,
        max_tokens=None,
        training=TrainingConfig(learning_rate=1e-2, batch_size=BATCH),
    )
    within = within_folder(world, "clinical")
    train.main(job, within)
    return Trained(base, within.work.parent, corpus, world)


def within_folder(world: World, name: str) -> World:
    """The same ranks with another work folder, beside which the program leaves its result."""
    work = world.work / name / "work"
    work.mkdir(parents=True)
    return replace(world, work=work)


def adapted(trained: Trained) -> PeftModel:
    """As PEFT itself loads the clinical adapter."""
    base = AutoModelForCausalLM.from_pretrained(trained.base)
    return PeftModel.from_pretrained(base, trained.clinical, adapter_name="clinical").eval()


def losses_alone(model: PreTrainedModel | PeftModel, packed: list[Packed]) -> dict[int, Tensor]:
    """By patient, the losses of all tokens of pieces that are read one by one, without padding."""
    found: dict[int, list[Tensor]] = {}
    for sequence in packed:
        for piece in alone(sequence):
            ids = torch.from_numpy(piece.input_ids.astype(np.int64))
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
            losses = functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
            found.setdefault(piece.subject_ids[0], []).append(losses)
    return {subject: torch.cat(losses) for subject, losses in found.items()}


def in_tokens(packed: list[Packed], folder: Path) -> Path:
    """The pieces as notes."""
    rows = [
        {"subject_id": subject_id, "bytes": 1, "input_ids": ids}
        for sequence in packed
        for subject_id, ids in pieces(sequence)
    ]
    table = pa.Table.from_pylist(rows, schemas.TOKENIZED)
    tables.write(folder / "tokenized" / "part-0.parquet", schemas.TOKENIZED, table)
    return folder


@pytest.mark.parametrize("name", [*PACKED, *APART])
def test_a_base_is_trained_fused_and_read_back(
    name: str, corpus: Path, inputs: Inputs, world: World, tmp_path: Path
) -> None:
    trained = pretrain(name, corpus, world)
    counts = json.loads((trained.clinical / "work" / "counts.json").read_text())
    assert counts["layout"].startswith("packed" if name in PACKED else "one document a row")
    check_each_document_is_read_as_if_alone(trained)
    check_it_fuses_and_comes_back_by_us_and_by_peft(trained, inputs, tmp_path)


@torch.no_grad()
def check_each_document_is_read_as_if_alone(trained: Trained) -> None:
    model, world = adapted(trained), trained.world
    corpus = Corpus(trained.corpus)
    sequences = [corpus[row] for row in range(len(corpus))]
    within = within_folder(world, "measured")
    job = PerplexityJob(
        base=trained.base,
        adapter=trained.clinical,
        notes=in_tokens(sequences, within.work.parent / "notes"),
        window=POSITIONS,
        stride=POSITIONS // 2,
        precision="fp32",
    )
    perplexity.main(job, within)
    stored = tables.read(within.work.parent / "perplexity", schemas.PERPLEXITY).to_pylist()
    expected = losses_alone(model, sequences)
    measured = {subject: np.zeros(3) for subject in expected}
    for row in stored:
        sums = [row["tokens"], row["nll_before"], row["nll_after"]]
        measured[row["subject_id"]] += sums
    for subject, (tokens, before, after) in measured.items():
        losses = expected[subject].double()
        assert tokens == len(losses)
        assert after == pytest.approx(float(losses.sum()), abs=1e-5 * len(losses))
        assert before != after
    with model.disable_adapter():
        losses = torch.cat(list(losses_alone(model, sequences[:BATCH]).values()))
    first = tables.read(trained.clinical / "history.parquet", schemas.HISTORY).to_pylist()[0]
    assert first["loss"] == pytest.approx(float(losses.mean()), abs=1e-5), "and so it was trained"


def check_it_fuses_and_comes_back_by_us_and_by_peft(
    trained: Trained, inputs: Inputs, tmp_path: Path
) -> None:
    world = trained.world
    settings = {"adapter": Lora(rank=2), "epochs": 1, "max_labelled_admissions": 24}
    given = {"base": trained.base, "summands": {"clinical": trained.clinical}}
    job = inputs.job(**settings, collapse_below=0).model_copy(update=given)
    study = Study.read(job)
    model = build(study, world)
    collapse = Collapse(job.name, job.config, study.outcomes, study.validation_rows)
    state = fit(study, model, world, collapse).state
    model.eval()
    model.save(tmp_path / "arm", state, BASE)

    clinical = [Summand("clinical", trained.clinical)]
    loaded = load_classifier(load_base(trained.base), tmp_path / "arm", clinical)
    rows = study.validation_rows[:8]
    for outcome, logits in score(model, study.inputs, rows, world).items():
        again = score(loaded, study.inputs, rows, world)[outcome]
        np.testing.assert_allclose(again, logits, rtol=0, atol=1e-5)

    both = adapted(trained)
    both.load_adapter(tmp_path / "arm", "task")
    both.base_model.set_adapter(["clinical", "task"])
    ids, present = map(torch.from_numpy, study.inputs.padded(rows))
    with torch.no_grad():
        states = trunk(language_model(both))(input_ids=ids, use_cache=False).last_hidden_state
        torch.testing.assert_close(states, model.states(ids, present), rtol=0, atol=1e-5)
        with model.without("clinical"):
            assert (states - model.states(ids, present)).abs().max() > 1e-3, "neither is all zero"
        with model.without("task"):
            assert (states - model.states(ids, present)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("llama", ("q_proj", "embed_tokens", "lm_head")),
        ("llama-tied", ("q_proj", "embed_tokens", "lm_head")),
        ("gpt2", ("c_attn", "wte", "lm_head")),
        ("gemma2", ("embed_tokens",)),
        ("biogpt", ("embed_tokens", "output_projection")),
        ("bloom", ("query_key_value", "word_embeddings")),
    ],
)
def test_an_adapter_on_tied_layers_merges_exactly_once_they_are_untied(
    name: str, targets: tuple[str, ...], corpus: Path, world: World
) -> None:
    trained = pretrain(name, corpus, world, targets=targets)
    described = json.loads((trained.clinical / "adapter_config.json").read_text())
    assert (described["base_model_name_or_path"], described["revision"]) == (
        BASE.name,
        BASE.revision,
    )
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        expected = adapted(trained)(input_ids=ids).logits
        merged = adapted(trained).merge_and_unload()(input_ids=ids).logits
        base = untie(AutoModelForCausalLM.from_pretrained(trained.base))
        model = PeftModel.from_pretrained(base, trained.clinical).merge_and_unload().eval()
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
        model.save_pretrained(world.work / "merged")
        again = AutoModelForCausalLM.from_pretrained(world.work / "merged").eval()
        torch.testing.assert_close(again(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
    tied = described["auto_mapping"]["tie_word_embeddings"]
    assert tied == (name != "llama")
    assert ((merged - expected).abs().max() > 0.1) == tied, "what untying is for"


@pytest.mark.parametrize("name", REFUSED)
def test_a_base_that_does_not_read_from_left_to_right_is_refused(
    name: str, corpus: Path, world: World
) -> None:
    with pytest.raises(ModelError, match="a token sees those after it; only causal language"):
        pretrain(name, corpus, world)
    assert [path.name for path in (world.work / "clinical").iterdir()] == ["work"]
