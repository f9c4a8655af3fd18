"""Every method trains the real program on a tiny base, and what it leaves loads back as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.keys import sha256_of
from tasks.model.adapters.adaptation import Adaptation, load_adapted, set_aside
from tasks.model.adapters.allows import ALLOWS
from tasks.model.adapters.blocks import insert_blocks, inserted
from tasks.model.adapters.build import language_model
from tasks.model.bases.causal import trunk
from tasks.model.bases.files import is_causal
from tasks.model.bases.load import load_base
from tasks.model.trunk import Summand, freeze
from tasks.pretrain import perplexity, train
from tasks.pretrain.config import MaskingConfig, PretrainConfig
from tasks.pretrain.corpus import CorpusWriter
from tasks.pretrain.jobs import AdapterJob, EncoderReading, PerplexityJob
from tasks.pretrain.objectives.causal import LanguageLesson
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.whole_notes import write_tokenized
from tasks.training.program import Preempted, World
from tests.pretrain.conftest import TRAIN, VALIDATION, WORDS, new_base, write_text
from tests.pretrain.encoders import write_encoder

ZERO0 = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero0.json"
LENGTH = 32
SIZES: dict[str, dict[str, Any]] = {  # what differs from a method's defaults, for a tiny base
    "lora": {"rank": 4, "alpha": 8},
    "dora": {"rank": 4, "alpha": 8},
    "pissa": {"rank": 4},
    "adalora": {"initial_rank": 6, "rank": 3, "alpha": 8, "every_steps": 2},
    "vera": {"rank": 16},
    "prefix": {"tokens": 4},
    "prompt": {"tokens": 4},
    "p_tuning": {"tokens": 4, "width": 16, "layers": 2},
    "adaption_prompt": {"tokens": 4},
    "insert_blocks": {"after": [2]},
}
RATES = {"lora": 1e-2, "dora": 1e-2, "pissa": 1e-2, "adalora": 3e-2, "ia3": 5e-2, "vera": 5e-2}
RATES |= {
    "prefix": 5e-2,
    "prompt": 5e-2,
    "p_tuning": 1e-2,
    "adaption_prompt": 5e-2,
    "full": 3e-3,
    "insert_blocks": 1e-2,
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with random weights, its tokenizer, and corpora of two splits."""
    folder = tmp_path_factory.mktemp("decoder")
    train_bpe(write_text(folder / "text.txt"), 300, folder)
    new_base(max_positions=128).save_pretrained(folder)
    write_corpora(folder, packed=True)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_encoder(tmp_path_factory.mktemp("encoder"), with_output=True)
    write_corpora(folder, packed=False)
    return folder


def write_corpora(folder: Path, *, packed: bool) -> None:
    """Documents in one order of words, so that there is something to learn."""
    tokenizer = LoadedTokenizer.load(folder)
    texts, held_out = (
        [(patient, " ".join(WORDS[patient % 7 :])) for patient in patients]
        for patients in (TRAIN, VALIDATION)
    )
    CorpusWriter(folder / "train", tokenizer, LENGTH, 0, packed=packed).write(texts)
    write_tokenized(folder / "validation", held_out, tokenizer, framed=packed)


def job_of(folder: Path, kind: str, **training: Any) -> AdapterJob:
    config = PretrainConfig.model_validate(
        {
            "base": {"kind": "path", "path": folder},
            "adapter": {"kind": kind, **SIZES.get(kind, {})},
            "training": {"learning_rate": RATES[kind], "batch_size": 4, **training},
        }
    )
    reading = EncoderReading(tokenizer=folder, masking=MaskingConfig())
    return AdapterJob(
        base=folder,
        corpus=folder / "train",
        adapter=config.adapter,
        training=config.training,
        epochs=4,
        max_tokens=None,
        encoder=None if is_causal(folder) else reading,
    )


def trained(job: AdapterJob, world: World, out: Path) -> Path:
    work = out / "work"
    work.mkdir(parents=True)
    train.main(job, replace(world, work=work))
    return out


def logits_of(folder: Path, adapter: Path | None, *, causal: bool) -> torch.Tensor:
    loader = AutoModelForCausalLM if causal else AutoModel
    settings = {} if causal else {"add_pooling_layer": False}
    model = loader.from_pretrained(folder, **settings).eval()
    model = model if adapter is None else load_adapted(model, adapter)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        output = model(input_ids=ids, use_cache=False) if causal else model(input_ids=ids)
    values: torch.Tensor = output.logits if causal else output.last_hidden_state
    return values[:, -ids.shape[1] :]


@pytest.mark.parametrize("kind", ALLOWS)
def test_a_decoder_learns_by_every_method(
    decoder: Path, world: World, tmp_path: Path, kind: str, monkeypatch: Any
) -> None:
    """Under ZeRO-2, the default."""
    last: dict[str, Any] = {}
    monkeypatch.setattr(Adaptation, "write", keeping(last, causal=True))
    job = job_of(decoder, kind)
    out = trained(job, world, tmp_path / "adapter")
    counts = json.loads((out / "work" / "counts.json").read_text())
    assert counts["method"] == kind
    assert counts["layout"].startswith("packed" if ALLOWS[kind].packing else "one document a row")
    assert ("scale" in counts) == (kind in ("lora", "dora", "pissa", "adalora"))
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.02
    # what was saved is what was trained
    assert_close(logits_of(decoder, out, causal=True), last["logits"], rtol=0, atol=2e-5)
    plain = logits_of(decoder, None, causal=True)
    assert (last["logits"] - plain).abs().max() > 0.01
    measured = measure(decoder, job, world, out, tmp_path / "measured")
    assert measured["perplexity_after"] < measured["perplexity_before"] * 0.99
    if ALLOWS[kind].family:
        added_to_a_frozen_trunk(decoder, out)


@pytest.mark.parametrize("kind", ALLOWS)
def test_a_decoder_learns_in_half_precision_by_every_method(
    decoder: Path, world: World, tmp_path: Path, kind: str
) -> None:
    """As on a GPU; VeRA's matrices were left in float32 once."""
    job = job_of(decoder, kind, precision="bf16").model_copy(update={"epochs": 2})
    out = trained(job, world, tmp_path / "adapter")
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize("kind", [kind for kind, can in ALLOWS.items() if can.encoders])
def test_an_encoder_learns_by_every_method_that_it_can_have(
    encoder: Path, world: World, tmp_path: Path, kind: str, monkeypatch: Any
) -> None:
    """Under ZeRO-0, which shards nothing."""
    last: dict[str, Any] = {}
    monkeypatch.setattr(Adaptation, "write", keeping(last, causal=False))
    job = job_of(encoder, kind, deepspeed=ZERO0)
    out = trained(job, world, tmp_path / "adapter")
    assert_close(logits_of(encoder, out, causal=False), last["logits"], rtol=0, atol=2e-5)
    measured = measure(encoder, job, world, out, tmp_path / "measured")
    assert measured["masked_word_loss_after"] < measured["masked_word_loss_before"]


def keeping(last: dict[str, Any], *, causal: bool) -> Any:
    """Adaptation.write that keeps what the trained model itself says."""
    write = Adaptation.write

    def keep(self: Adaptation, path: Path, state: dict[str, torch.Tensor], base: Any) -> None:
        model = self.model.eval()
        with torch.no_grad():
            output = model(input_ids=torch.arange(5, 25)[None])
        values = output.logits if causal else output.last_hidden_state
        last["logits"] = values[:, -20:]
        write(self, path, state, base)

    return keep


def added_to_a_frozen_trunk(folder: Path, adapter: Path) -> None:
    """What the table calls a summand gives the states of the adapted base, merged or not."""
    ids = torch.arange(5, 25)[None]
    present = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        model = load_adapted(AutoModelForCausalLM.from_pretrained(folder), adapter)
        expected = trunk(language_model(model))(input_ids=ids, use_cache=False).last_hidden_state
        for merge in (False, True):
            frozen = freeze(load_base(folder), [Summand("clinical", adapter)], merge=merge)
            assert_close(frozen.states(ids, present), expected, rtol=0, atol=2e-5)


def measure(
    folder: Path, job: AdapterJob, world: World, adapter: Path, out: Path
) -> dict[str, float]:
    (out / "work").mkdir(parents=True)
    measuring = PerplexityJob(
        base=folder,
        adapter=adapter,
        notes=folder / "validation",
        window=LENGTH,
        stride=LENGTH // 2,
        precision="fp32",
        encoder=job.encoder,
    )
    perplexity.main(measuring, replace(world, work=out / "work"))
    counts: dict[str, float] = json.loads((out / "work" / "counts.json").read_text())
    return counts


@pytest.mark.parametrize("kind", ["pissa", "adalora"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    decoder: Path, world: World, tmp_path: Path, kind: str, monkeypatch: Any
) -> None:
    job = job_of(decoder, kind)
    whole = trained(job, world, tmp_path / "whole")
    out = tmp_path / "stopped"
    (out / "work").mkdir(parents=True)
    stopped = replace(world, work=out / "work")
    prepared = LanguageLesson.prepared

    def told(self: LanguageLesson, micro: Any) -> Any:
        stopped.told_to_stop = True
        return prepared(self, micro)

    with monkeypatch.context() as patched:
        patched.setattr(LanguageLesson, "prepared", told)
        for _ in range(3):  # a step each
            with pytest.raises(Preempted):
                train.main(job, stopped)
            stopped.told_to_stop = False
    train.main(job, stopped)
    for file in sorted(path.name for path in whole.glob("*.safetensors")):
        assert sha256_of(whole / file) == sha256_of(out / file)


@pytest.mark.parametrize("kind", [kind for kind, can in ALLOWS.items() if can.zero3])
def test_ranks_may_hold_a_part_of_each_parameter_where_the_table_says_so(
    decoder: Path, world: World, tmp_path: Path, kind: str
) -> None:
    parts = job_of(decoder, kind, deepspeed=ZERO0.with_name("zero3.json"))
    logits = [
        logits_of(decoder, trained(short, world, tmp_path / name), causal=True)
        for name, job in (("parts", parts), ("whole", job_of(decoder, kind)))
        for short in (job.model_copy(update={"epochs": 1.0}),)
    ]
    assert_close(*logits, rtol=0, atol=1e-3)


def test_new_blocks_change_nothing_at_first_and_set_aside_not_a_bit(decoder: Path) -> None:
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        plain = logits_of(decoder, None, causal=True)
        base = AutoModelForCausalLM.from_pretrained(decoder).eval().requires_grad_(False)
        method = job_of(decoder, "insert_blocks").adapter
        model = Adaptation.of(base, method, 1, "pretrain.adapter.targets").model
        assert_close(model(input_ids=ids, use_cache=False).logits, plain, rtol=0, atol=1e-5)
        for parameter in inserted(model).values():
            parameter.normal_()
        assert (model(input_ids=ids, use_cache=False).logits - plain).abs().max() > 0.1
        with set_aside(model):
            assert torch.equal(model(input_ids=ids, use_cache=False).logits, plain)
    for after, told in (([9], "has 2; lower it"), ([1], "not built like a LLaMA")):
        other = base if after == [9] else new_gpt2()
        with pytest.raises(ConfigError, match=told):
            insert_blocks(other, after, "pretrain.adapter")


def new_gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20))
