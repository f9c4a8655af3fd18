"""Encoded notes with random labels, a tokenizer and LLaMAs, for the bench of finetuning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables

MEAN, MEDIAN = 890, 804  # tokens of an admission note by LLaMA's tokenizer, in the paper's data
LONGEST = 2048
NOTES, VALIDATED = 64, 8  # to learn from, and to validate on
SHORT = 24  # notes to learn from beside frozen layers, of a quarter of their length
LABELS, OUTCOMES = 20, 5
SHAPE = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4}
LAYERS, DEEP = 2, 16


def write_inputs(folder: Path) -> NDArray[np.int64]:
    """Write what all arms read; the lengths of the notes to learn from, in tokens."""
    from tasks.data.tokenizer import LoadedTokenizer
    from tasks.pretrain.tokenizer import train_bpe

    draw = np.random.default_rng(0)
    letters = draw.choice(list("abcdefgh    "), 20_000)
    (folder / "text.txt").write_text("".join(letters))
    train_bpe(folder / "text.txt", 1000, folder / "tokenizer")
    tokenizer = LoadedTokenizer.load(folder / "tokenizer")
    spread = math.sqrt(2 * math.log(MEAN / MEDIAN))
    drawn = np.exp(math.log(MEDIAN) + spread * draw.standard_normal(NOTES + VALIDATED))
    lengths = np.clip(drawn.astype(np.int64), 16, LONGEST)
    _write_notes(folder / "encoded", lengths, NOTES, tokenizer.size, draw)
    short = np.maximum(lengths[: SHORT + VALIDATED] // 4, 16)
    _write_notes(folder / "short", short, SHORT, tokenizer.size, draw)
    for number in range(OUTCOMES):
        _write_outcome(folder / f"outcome-{number}", LABELS if number == 0 else 4, draw)
    for name, layers in (("base", LAYERS), ("deep", DEEP)):
        _write_base(folder / name, layers, tokenizer)
    return lengths[:NOTES]


def _write_notes(
    folder: Path, lengths: NDArray[np.int64], learned: int, size: int, draw: np.random.Generator
) -> None:
    rows = [
        {
            "hadm_id": index,
            "split": "train" if index < learned else "validation",
            "input_ids": draw.integers(5, size, length).tolist(),
        }
        for index, length in enumerate(lengths)
    ]
    _write(folder / "encoded", schemas.ENCODED, rows)


def _write_outcome(folder: Path, labels: int, draw: np.random.Generator) -> None:
    rows = [
        {
            "hadm_id": index,
            "observed": True,
            "code_system": "made-up",
            "labels": np.flatnonzero(draw.random(labels) < 0.3).tolist(),
        }
        for index in range(NOTES + VALIDATED)
    ]
    described = [
        {
            "index": index,
            "code_system": "made-up",
            "code": str(index),
            "title": None,
            "one_of": False,
            "train": 1,
            "validation": 1,
            "test": 1,
        }
        for index in range(labels)
    ]
    _write(folder / "outcomes", schemas.OUTCOMES, rows)
    _write(folder / "labels", schemas.LABELS, described)


def _write(folder: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    tables.write(folder / "part-0.parquet", schema, pa.Table.from_pylist(rows, schema))


def _write_base(folder: Path, layers: int, tokenizer: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPE,
        vocab_size=tokenizer.size,
        num_hidden_layers=layers,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
