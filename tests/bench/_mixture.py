"""Notes as MIMIC-IV-Note has them: 12.5% discharge summaries, 87.5% radiology reports.

Lengths in tokens are log-normal, and the bench prints their quantiles as the tokenizer counts them.
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pyarrow as pa

from tasks import schemas, tables
from tasks.pretrain.tokenizer import train_bpe
from tests.bench._note_parts import NoteParts, note_parts

DISCHARGE_SHARE = 0.125  # 331,794 of 2,653,149 notes
# characters of a note: median, and the standard deviation of the logarithm. By our tokenizer 2,600
# and 280 tokens; 5% of discharge summaries have more than 6,000, 5% of reports more than 800
_LENGTHS = {"DS": (9_500, 0.5), "RR": (1_050, 0.65)}
_PARTS = 8  # of the table, so that processes can share them
_VOCABULARY = 4000


def write_mixture(folder: Path, notes: int, seed: int = 0) -> Path:
    """Write a `notes` artifact of so many notes, each of a patient of its own; return it."""
    draw, parts = Random(seed), note_parts(seed)
    for number in range(_PARTS):
        rows = []
        for subject_id in range(number + 1, notes + 1, _PARTS):
            kind = "DS" if draw.random() < DISCHARGE_SHARE else "RR"
            median, spread = _LENGTHS[kind]
            length = int(median * math.exp(draw.gauss(0, spread)))
            rows.append(
                {
                    "note_id": f"{subject_id}-{kind}-1",
                    "subject_id": subject_id,
                    "hadm_id": None,
                    "note_type": kind,
                    "note_seq": 1,
                    "charttime": None,
                    "storetime": None,
                    "text": _text(parts, kind, length, draw),
                }
            )
        path = folder / "notes" / f"part-{number}.parquet"
        tables.write(path, schemas.NOTES, pa.Table.from_pylist(rows, schemas.NOTES))
    return folder


def write_tokenizer(folder: Path, notes: Path) -> Path:
    """Train a byte-level BPE on the notes; return its folder, which transformers reads, too."""
    texts = tables.read(notes / "notes", schemas.NOTES, ["text"])["text"].to_pylist()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text("\n\n".join(texts[:1000]))
    train_bpe(folder / "notes.txt", _VOCABULARY, folder)
    (folder / "notes.txt").unlink()
    return folder


def _text(parts: NoteParts, kind: str, length: int, draw: Random) -> str:
    """Parts of notes, one after another, until there are so many characters."""
    pools = [parts.reports]
    if kind == "DS":
        pools = [parts.heads, parts.labs, parts.findings, parts.courses, parts.paragraphs]
        pools += [parts.medications, parts.endings, parts.advice]
    text, turn = "", 0
    while len(text) < length:
        text += draw.choice(pools[turn % len(pools)]).decode().replace('""', '"')
        turn += 1
    return text[:length]
