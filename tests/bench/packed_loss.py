"""Held-out loss after domain pretraining: ours packed, unpacked, and TRL's packing on a CPU.

The demo's small LLaMA is trained from the same random weights on as many tokens of the same
synthetic notes; then whole notes of other patients are read, each alone. Three seeds of weights
and order. TRL's rows are less full, so that the same tokens are more steps of it: it also takes as
many steps. How fast each is, `pretraining.py` measures.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.csv

from tasks.data.tokenizer import LoadedTokenizer
from tasks.model.bases.config import ScratchBase
from tasks.pretrain.corpus import CorpusWriter
from tasks.pretrain.tokenizer import train_bpe
from tasks.synth.synthesize import synthesize
from tests.bench._packed_losses import OURS, SEEDS
from tests.bench._trainings import LENGTH, run

PATIENTS, HELD_OUT = 330, 30
SEEN = 1e-3  # of the spread of logits: more is no rounding
PEERS = {
    "unpacked": "a document a row, padded",
    "bfd": "TRL's SFTTrainer, packing as it comes (bfd), as many tokens",
    "bfd-steps": "the same, as many steps",
    "wrapped": "the same, wrapped; as many tokens",
}


def rows() -> list[dict[str, Any]]:
    """A row for each peer of our packed training."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        taken = {}
        for arm in ("packed", *PEERS):
            taken[arm] = run("tests.bench._packed_losses", arm, Path(folder))
            if arm == "packed":
                (Path(folder) / OURS).write_text(json.dumps(taken[arm]))
    ours = taken["packed"]["losses"]
    made = []
    for arm, name in PEERS.items():
        peer = taken[arm]["losses"]
        extra = [after - before for before, after in zip(ours, peer, strict=True)]
        seen = "see each other" if taken[arm]["leak"] > SEEN else "kept apart"
        made.append(
            {
                "what": f"held-out loss of whole notes, {len(SEEDS)} seeds (sd {stdev(ours):.4f}, "
                f"{stdev(peer):.4f}), {_size(taken['packed'])} and {_size(taken[arm])}",
                "unit": "nats a token",
                "ours": mean(ours),
                "peer": mean(peer),
                "peer_name": f"{name}; documents {seen}; more by {mean(extra):+.4f} "
                f"({min(extra):+.4f} to {max(extra):+.4f})",
                "ratio": mean(peer) / mean(ours),
                "goal": 1.0,
                "peak_mib": None,
            }
        )
    return made


def _size(taken: dict[str, list[float]]) -> str:
    """How much a training learned from."""
    return f"{mean(taken['tokens']):,.0f} tokens in {mean(taken['steps']):.0f} steps"


def _write(folder: Path) -> None:
    """Write what all arms read."""
    import torch
    from datasets import Dataset

    from tasks.model.bases.scratch import scratch_llama

    train, held_out = _notes(folder)
    (folder / "notes.txt").write_text("\n\n".join(text for _, text in train))
    train_bpe(folder / "notes.txt", 2000, folder / "tokenizer")
    tokenizer = LoadedTokenizer.load(folder / "tokenizer")
    for name, notes in (("whole", train), ("held-out", held_out)):
        encoded = tokenizer.tokenizer.encode_batch_fast([text for _, text in notes])
        ids = [[*encoding.ids, tokenizer.eos] for encoding in encoded]
        Dataset.from_dict({"input_ids": ids}).save_to_disk(folder / name)
    base = ScratchBase(corpus=folder / "notes.txt", max_positions=LENGTH)
    for seed in SEEDS:
        torch.manual_seed(seed)
        scratch_llama(base, tokenizer).save_pretrained(folder / f"base-{seed}")
        writer = CorpusWriter(folder / f"corpus-{seed}", tokenizer, LENGTH, seed=seed, overlap=1)
        writer.write(train)


def _notes(folder: Path) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The (subject_id, text) of the notes to train on, and of the last patients'."""
    source = synthesize(folder / "synth", patients=PATIENTS, seed=0).source / "note"
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    tables = [
        pyarrow.csv.read_csv(source / f"{name}.csv.gz", parse_options=options)
        for name in ("discharge", "radiology")
    ]
    notes = pa.concat_tables(table.select(["subject_id", "text"]) for table in tables)
    patients = sorted(set(notes["subject_id"].to_pylist()))
    kept = set(patients[:-HELD_OUT])
    pairs = list(zip(notes["subject_id"].to_pylist(), notes["text"].to_pylist(), strict=True))
    train = [pair for pair in pairs if pair[0] in kept]
    return train, [pair for pair in pairs if pair[0] not in kept]
