"""A base that cannot be used, and a layer that it lacks, are named from its files alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, T5Config, T5ForConditionalGeneration

from tasks.errors import ConfigError, ModelError
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.causal import load_causal
from tasks.model.bases.files import check_base, check_notes_length, check_targets
from tasks.pretrain.tokenizer import train_bpe
from tests.model.architectures import APART, PACKED, POSITIONS, ROWS, write_base
from tests.pretrain.conftest import write_text

PRETRAIN, FINETUNE = "pretrain.adapter.targets", "finetune.adapter.targets"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_bpe(write_text(folder / "general.txt"), ROWS, folder)
    return folder


@pytest.fixture
def base(tokenizer: Path, tmp_path: Path) -> Path:
    """A LLaMA that shares the weights of its embedding with its output layer."""
    shutil.copytree(tokenizer, tmp_path / "base")
    return write_base("llama-tied", tmp_path / "base")


@pytest.mark.parametrize("name", [*PACKED, *APART])
def test_every_layer_that_peft_adapts_is_found_in_the_files(name: str, tmp_path: Path) -> None:
    model = load_causal(write_base(name, tmp_path))
    linear = {
        full.rpartition(".")[2]
        for full, module in model.named_modules()
        if type(module) is torch.nn.Linear
    }
    assert linear
    for target in sorted(linear):
        check_targets(tmp_path, (target,), PRETRAIN)
    with pytest.raises(ConfigError, match="'no_layer', of which the base has no layer"):
        check_targets(tmp_path, ("no_layer",), PRETRAIN)


@pytest.mark.parametrize("key", [PRETRAIN, FINETUNE])
@pytest.mark.parametrize("given", [True, False], ids=["path", "scratch"])
def test_a_wrong_name_is_told_with_the_nearest_right_ones(
    base: Path, key: str, given: bool
) -> None:
    with pytest.raises(ConfigError) as raised:
        check_targets(base if given else None, ("k_proj", "q_prj"), key)
    assert f"{key} names 'q_prj', of which the base has no layer; nearest: q_proj" in str(
        raised.value
    )
    check_targets(base if given else None, ("q_proj", "embed_tokens"), key)
    check_targets(base if given else None, ("model.layers.0.self_attn.q_proj",), key)
    check_targets(base if given else None, "all-linear", key)


def test_the_output_layer_is_pretrainings_alone(base: Path) -> None:
    check_targets(base, ("lm_head",), PRETRAIN)
    with pytest.raises(ConfigError, match="names the output layer 'lm_head'"):
        check_targets(base, ("lm_head",), FINETUNE)


def test_the_training_program_finds_a_wrong_name_too(base: Path) -> None:
    model = load_causal(base)
    with pytest.raises(ConfigError, match=r"finetune\.adapter\.targets names 'q_prj'.* q_proj"):
        add_new_adapter(model, Lora(targets=("v_proj", "q_prj")), "task", FINETUNE)
    with pytest.raises(ConfigError, match="PEFT adapts none of these layers"):
        add_new_adapter(model, Lora(targets=("norm",)), "task", FINETUNE)


def test_files_in_several_parts_are_read(base: Path) -> None:
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="20KB")
    (base / "model.safetensors").unlink(missing_ok=True)
    parts = sorted(base.glob("*.safetensors"))
    assert len(parts) > 2
    check_base(base)
    check_targets(base, ("down_proj",), FINETUNE)
    parts[0].unlink()
    with pytest.raises(ModelError, match=rf"lacks 1 of its {len(parts)} files of weights"):
        check_base(base)


def without(name: str) -> Callable[[Path], None]:
    return lambda base: (base / name).unlink()


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda base: (base / name).write_bytes(content) and None


def cut(base: Path) -> None:
    whole = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(whole[:-100])


def another_kind(base: Path) -> None:
    config = T5Config(vocab_size=ROWS, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(base)


def with_token(token: str, special: bool) -> Callable[[Path], None]:
    def add(base: Path) -> None:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
        tokenizer.save(str(base / "tokenizer.json"))

    return add


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (shutil.rmtree, "is not a model directory"),
        (without("config.json"), "is not a model directory"),
        (written("config.json", b"{"), r"config\.json cannot be read"),
        (written("config.json", b"[]"), "holds no model configuration"),
        (without("model.safetensors"), "has no weights"),
        (written("model.safetensors", b"version https://git-lfs"), "no readable safetensors file"),
        (written("model.safetensors", b""), "no readable safetensors file"),
        (cut, r"has \d+ bytes, not \d+"),
        (without("tokenizer.json"), r"neither tokenizer\.json nor tokenizer\.model"),
        (written("tokenizer.json", b"{}"), r"no readable tokenizer\.json"),
        (another_kind, "is a T5ForConditionalGeneration, neither a causal language model"),
        (with_token("metformin", special=False), rf"has {ROWS} rows, .* 'metformin' \(id {ROWS}\)"),
    ],
)
def test_what_is_wrong_with_a_base_is_said(
    base: Path, harm: Callable[[Path], None], told: str
) -> None:
    check_base(base, POSITIONS)
    harm(base)
    with pytest.raises(ModelError, match=told):
        check_base(base)


def test_a_token_that_no_text_gives_needs_no_row_unless_texts_are_padded_with_it(
    base: Path,
) -> None:
    with_token("[PAD]", special=True)(base)
    check_base(base)
    path = base / "tokenizer_config.json"
    named = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(named | {"pad_token": "[PAD]"}))
    with pytest.raises(ModelError, match=rf"'\[PAD\]' \(id {ROWS}\); resize the embedding"):
        check_base(base)


def test_sequences_longer_than_the_base_reads_are_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=rf"reads at most {POSITIONS} tokens; lower it"):
        check_base(base, POSITIONS + 1)


def test_notes_longer_than_learned_positions_are_refused(base: Path) -> None:
    check_notes_length(base, 10 * POSITIONS)  # rotary ones go on
    described = json.loads((base / "config.json").read_text())
    del described["max_position_embeddings"]
    described |= {"model_type": "gpt2", "n_positions": POSITIONS}
    (base / "config.json").write_text(json.dumps(described))
    check_notes_length(base, POSITIONS)
    told = rf"max_tokens is {POSITIONS + 1}, but the base has positions for {POSITIONS} tokens"
    with pytest.raises(ConfigError, match=told):
        check_notes_length(base, POSITIONS + 1)


def test_weights_that_would_be_random_are_refused(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    check_base(base)  # which knows no architecture
    with pytest.raises(ModelError, match=r"lacks 1 weights .* which would be random"):
        load_causal(base)


def test_nothing_of_this_imports_torch(base: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tasks.model.bases.files import *;"
        f"check_base(Path({str(base)!r})); check_targets(Path({str(base)!r}), ('q_proj',), 'x');"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"
