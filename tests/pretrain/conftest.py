"""Small notes, splits and a plain text, as the stage's inputs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tasks import schemas, tables

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

WORDS = (
    *("patient", "denies", "chest", "pain", "fever", "cough", "chills", "nausea", "history", "of"),
    *(
        "heart",
        "failure",
        "kidney",
        "stone",
        "admitted",
        "with",
        "abdominal",
        "shortness",
        "breath",
    ),
    *("treated", "discharged", "home", "stable", "follow", "up", "in", "clinic", "daily", "given"),
)
TRAIN, VALIDATION, TEST = range(101, 121), range(201, 209), range(301, 305)


def sentence(generator: random.Random, words: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(words)) + "."


def write_notes(place: Path, seed: int = 0) -> Path:
    """Two notes a patient, of very different lengths; a `notes` artifact's folder."""
    generator = random.Random(seed)
    rows = [
        {
            "note_id": f"{subject_id}-DS-{number}",
            "subject_id": subject_id,
            "hadm_id": None,
            "note_type": "DS",
            "note_seq": number,
            "charttime": None,
            "storetime": None,
            "text": f"Note:\n{sentence(generator, generator.randint(1, 120))}",
        }
        for subject_id in (*TRAIN, *VALIDATION, *TEST)
        for number in (1, 2)
    ]
    tables.write(
        place / "notes" / "part-0.parquet", schemas.NOTES, pa.Table.from_pylist(rows, schemas.NOTES)
    )
    return place


def write_splits(place: Path) -> Path:
    """The patients' splits; a `splits` artifact's folder."""
    named = (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
    rows = [{"subject_id": each, "split": name} for name, ids in named for each in ids]
    table = pa.Table.from_pylist(rows, schemas.SPLITS)
    tables.write(place / "splits" / "part-0.parquet", schemas.SPLITS, table)
    return place


def write_text(path: Path, documents: int = 60) -> Path:
    """A plain text of documents parted by blank lines."""
    generator = random.Random(1)
    path.write_text("\n\n".join(sentence(generator, 40) for _ in range(documents)) + "\n")
    return path


def write_base(place: Path) -> Path:
    """A LLaMA with random weights for a tokenizer of 300 pieces."""
    new_base().save_pretrained(place)
    return place


def new_base(vocabulary: int = 300, **shape: int) -> LlamaForCausalLM:
    """A LLaMA with random weights, by default of two layers for 300 pieces."""
    import torch
    from tokenizers import Tokenizer, models

    from tasks.data.tokenizer import LoadedTokenizer
    from tasks.model.bases.config import ScratchBase
    from tasks.model.bases.scratch import scratch_llama

    given = {"hidden_size": 32, "layers": 2, "heads": 2, "sequence_length": 64, "max_positions": 64}
    tokenizer = LoadedTokenizer(Tokenizer(models.BPE()), size=vocabulary, pad=0, eos=2, bos=1)
    torch.manual_seed(0)
    return scratch_llama(ScratchBase(corpus=Path(), **(given | shape)), tokenizer)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with notes/, splits/ and general.txt."""
    root = tmp_path_factory.mktemp("pretrain")
    write_notes(root / "notes")
    write_splits(root / "splits")
    write_text(root / "general.txt")
    return root
