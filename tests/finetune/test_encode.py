"""Notes to token ids: in order, cut where asked, and counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from tasks import schemas, tables
from tasks.errors import ModelError
from tasks.finetune.encode import encode
from tasks.finetune.steps import encode_notes
from tests.finetune.conftest import Inputs


def test_every_note_is_encoded_in_order_and_cut(inputs: Inputs, tmp_path: Path) -> None:
    notes = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS).to_pylist()
    tokenizer = Tokenizer.from_file(str(inputs.tokenizer / "tokenizer.json"))
    whole = [tokenizer.encode(note["note"]).ids for note in notes]
    most = sorted(map(len, whole))[len(whole) // 2]  # about half are longer
    counts = encode(tmp_path, inputs.cohort, inputs.tokenizer, most)
    found = tables.read(tmp_path / "encoded", schemas.ENCODED).to_pylist()
    assert [row["hadm_id"] for row in found] == [note["hadm_id"] for note in notes]
    assert [row["split"] for row in found] == [note["split"] for note in notes]
    assert [row["input_ids"] for row in found] == [ids[:most] for ids in whole]
    assert counts == {
        "admissions": len(notes),
        "tokens": sum(len(ids[:most]) for ids in whole),
        "notes_cut": sum(len(ids) > most for ids in whole),
        "tokens_cut": sum(len(ids[most:]) for ids in whole),
    }
    assert counts["notes_cut"] > 0


def test_a_long_notes_last_tokens_are_kept_where_asked(inputs: Inputs, tmp_path: Path) -> None:
    notes = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS).to_pylist()
    tokenizer = Tokenizer.from_file(str(inputs.tokenizer / "tokenizer.json"))
    whole = [tokenizer.encode(note["note"]).ids for note in notes]
    most = sorted(map(len, whole))[len(whole) // 2]
    counts = encode(tmp_path, inputs.cohort, inputs.tokenizer, most, tail_tokens=5)
    found = tables.read(tmp_path / "encoded", schemas.ENCODED)["input_ids"].to_pylist()
    cut = [ids if len(ids) <= most else ids[: most - 5] + ids[-5:] for ids in whole]
    assert found == cut
    assert counts["notes_cut"] == sum(len(ids) > most for ids in whole) > 0


def test_a_folder_without_a_tokenizer_is_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no readable tokenizer\.json"):
        encode(tmp_path / "out", inputs.cohort, tmp_path, 8)


def test_the_bytes_of_the_step_are_those_of_its_version(inputs: Inputs) -> None:
    """A step whose bytes change needs a new version."""
    written = (inputs.encoded / "encoded" / "part-0.parquet").read_bytes()
    assert (encode_notes.version, hashlib.sha256(written).hexdigest()[:16]) == (
        3,
        "358037f856a4877c",
    )


def test_a_notes_own_markers_are_text(inputs: Inputs, tmp_path: Path) -> None:
    notes = ["<s>penicillin</s> none <pad> </s>", "no marker"]
    shared = {"subject_id": 1, "split": "train"}
    rows = [{"hadm_id": row, "note": note, **shared} for row, note in enumerate(notes)]
    table = pa.Table.from_pylist(rows, schemas.ADMISSIONS)
    tables.write(tmp_path / "cohort" / "admissions" / "part-0.parquet", schemas.ADMISSIONS, table)
    encode(tmp_path, tmp_path / "cohort", inputs.tokenizer, 100)
    tokenizer = Tokenizer.from_file(str(inputs.tokenizer / "tokenizer.json"))
    control = {tokenizer.token_to_id(token) for token in ("<pad>", "<s>", "</s>")}
    found = tables.read(tmp_path / "encoded", schemas.ENCODED)["input_ids"].to_pylist()
    assert [[each for each in ids if each in control] for ids in found] == [[1], [1]], "BOS alone"
    assert [tokenizer.decode(ids) for ids in found] == notes
