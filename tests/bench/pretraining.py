"""Useful tokens a second of domain pretraining beside the paper's way, on one rank.

The paper's: a note a row, cut and padded to 512 tokens, under HF Trainer with PEFT. Ours: packed,
under DeepSpeed. TRL's: packed by its SFTTrainer, as that comes on this machine. The same small
LLaMA and LoRA; padding is no useful token. By turns, each in a process of its own; the medians
count. Goals: 95% of what the padding alone makes up for, and 1.1 times TRL.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.pretrain.corpus import CorpusWriter
from tasks.pretrain.note_shards import Release, pack_releases
from tests.bench._mixture import write_mixture, write_tokenizer
from tests.bench._trainings import LENGTH, run

NOTES = 1000
SHARE = 0.95
_TURNS = 3


def rows() -> list[dict[str, Any]]:
    """One row by the clock, and one by the processor's time."""
    rates: dict[str, list[dict[str, float]]] = {"ours": [], "paper": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        fill = _write(Path(folder))
        for _ in range(_TURNS):
            for arm, taken in rates.items():
                taken.append(run("tests.bench._trainings", arm, Path(folder)))
    peers = {
        "paper": (f"HF Trainer + PEFT, a note a row, rows {fill:.1%} full", SHARE / fill),
        "trl": ("TRL's SFTTrainer, packing", 1.1),
    }
    made = []
    for arm, (peer_name, goal) in peers.items():
        for name, unit in (("clock", "tok/s"), ("work", "tokens a second of the processor")):
            ours, peer = (median(taken[name] for taken in rates[arm]) for arm in ("ours", arm))
            made.append(
                {
                    "what": "pretraining of a small LLaMA, one rank, padding not counted",
                    "unit": unit,
                    "ours": ours,
                    "peer": peer,
                    "peer_name": peer_name,
                    "ratio": ours / peer,
                    "goal": round(goal, 2),
                    "peak_mib": None,
                }
            )
    return made


def _write(folder: Path) -> float:
    """Write what both arms read; return how full the padded rows are."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM

    notes = write_mixture(folder / "notes", NOTES)
    tokens = write_tokenizer(folder / "tokenizer", notes)
    tokenizer = LoadedTokenizer.load(tokens)
    writer = CorpusWriter(folder / "corpus", tokenizer, LENGTH, seed=0, overlap=1)
    pack_releases(writer, tokens, [Release((notes,), "source", None)])
    texts = tables.read(notes / "notes", schemas.NOTES, ["text"])["text"].to_pylist()
    ids = [encoding.ids[:LENGTH] for encoding in tokenizer.tokenizer.encode_batch_fast(texts)]
    np.random.default_rng(0).shuffle(ids)
    whole = [encoding.ids for encoding in tokenizer.tokenizer.encode_batch_fast(texts)]
    Dataset.from_dict({"input_ids": whole}).save_to_disk(folder / "whole")
    padded = {
        "input_ids": [row + [tokenizer.pad] * (LENGTH - len(row)) for row in ids],
        "attention_mask": [[1] * len(row) + [0] * (LENGTH - len(row)) for row in ids],
        "labels": [row + [-100] * (LENGTH - len(row)) for row in ids],
    }
    Dataset.from_dict(padded).save_to_disk(folder / "padded")
    config = LlamaConfig(
        vocab_size=tokenizer.size,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    return sum(map(len, ids)) / (len(ids) * LENGTH)
