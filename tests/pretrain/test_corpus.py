"""A corpus holds the notes of its split's patients, whole, and nothing of anyone else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import SourceError
from tasks.pretrain.corpus import Corpus, CorpusWriter, dropped_by, of_notes, of_texts, patients_of
from tasks.pretrain.note_shards import Release, pack_releases
from tasks.pretrain.packing import NO_PATIENT, PADDING, pieces
from tasks.pretrain.tokenizer import train_bpe
from tasks.shards import Counts, Spread, one_by_one
from tests.pretrain.conftest import TEST, TRAIN, VALIDATION

LENGTH = 32


@pytest.fixture(scope="module")
def tokenizer(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedTokenizer:
    place = tmp_path_factory.mktemp("tokenizer")
    train_bpe(inputs / "general.txt", 300, place)
    return LoadedTokenizer.load(place)


def write(
    out: Path, inputs: Path, tokenizer: LoadedTokenizer, split: str, seed: int | None, overlap: int
) -> dict[str, int]:
    notes = of_notes([inputs / "notes"], patients_of(inputs / "splits", split))
    return CorpusWriter(out, tokenizer, LENGTH, seed, overlap).write(notes)


def test_it_holds_the_training_patients_notes_whole(
    tmp_path: Path, inputs: Path, tokenizer: LoadedTokenizer
) -> None:
    table = tables.read(inputs / "notes" / "notes", schemas.NOTES, ["subject_id", "text"])
    rows = [row for row in table.to_pylist() if row["subject_id"] in TRAIN]
    notes = list(of_notes([inputs / "notes"], patients_of(inputs / "splits", "train")))
    assert notes == [(row["subject_id"], row["text"]) for row in rows]
    # a note for a patient, since the pieces of a patient's two notes may lie between one another
    numbered = [(1 + number, text) for number, (_, text) in enumerate(notes)]
    counts = CorpusWriter(tmp_path, tokenizer, LENGTH, None).write(numbered)
    corpus, ids_of = Corpus(tmp_path), {number: [] for number, _ in numbered}
    for row in range(len(corpus)):
        for number, ids in pieces(corpus[row]):
            ids_of[number].extend(ids.tolist())
    for number, text in numbered:
        first, *ids, last = ids_of[number]
        assert (first, last) == (tokenizer.bos, tokenizer.eos)
        assert tokenizer.tokenizer.decode(ids) == text
    assert counts["documents"] == counts["patients"] == 2 * len(TRAIN)
    assert counts["sequences"] == -(-counts["tokens"] // LENGTH)
    assert list(tmp_path.rglob("*.*")) == [tmp_path / "sequences" / "part-0.parquet"]


def test_shards_may_be_packed_in_any_order_and_at_once(
    tmp_path: Path, inputs: Path, tokenizer: LoadedTokenizer
) -> None:
    folder = inputs / "notes"
    (table,) = tables.parts(folder / "notes")
    for number, half in enumerate(np.array_split(np.arange(tables.rows(table)), 2)):
        rows = tables.read(table, schemas.NOTES).take(half)
        tables.write(tmp_path / "notes" / "notes" / f"part-{number}.parquet", schemas.NOTES, rows)
    (tmp_path / "tokenizer.json").write_text(tokenizer.tokenizer.to_str())
    guard = tmp_path / "guard"
    rows = [{"note_id": f"{TRAIN[3]}-DS-2", "release": "other"}]
    dropped = pa.Table.from_pylist(rows, schemas.GUARD_DROPPED)
    tables.write(guard / "dropped" / "part-0.parquet", schemas.GUARD_DROPPED, dropped)
    releases = [
        Release((tmp_path / "notes",), "own", guard, inputs / "splits"),
        Release((folder,), "other", guard),
    ]

    def backwards(function: Callable[..., Counts], shards: list[dict]) -> list[Counts]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(function, **shard) for shard in reversed(shards)]
            return [future.result() for future in reversed(futures)]

    def written(name: str, spread: Spread) -> tuple[bytes, dict[str, int]]:
        writer = CorpusWriter(tmp_path / name, tokenizer, LENGTH, seed=1, overlap=1)
        counts = pack_releases(writer, tmp_path, releases, spread)
        return (tmp_path / name / "sequences" / "part-0.parquet").read_bytes(), counts

    alone, counts = written("alone", one_by_one)
    spread, _ = written("spread", backwards)
    assert alone == spread
    assert counts["documents"] == 2 * len(TRAIN) + tables.rows(table) - 1
    assert counts["patients"] == len(TRAIN) + len(VALIDATION) + len(TEST)


def test_what_the_guard_drops_is_left_out(tmp_path: Path, inputs: Path) -> None:
    patients = patients_of(inputs / "splits", "train")
    rows = [{"note_id": f"{TRAIN[3]}-DS-2", "release": "source"}]
    table = pa.Table.from_pylist(rows, schemas.GUARD_DROPPED)
    tables.write(tmp_path / "dropped" / "part-0.parquet", schemas.GUARD_DROPPED, table)
    everything = list(of_notes([inputs / "notes"], patients))
    kept = list(of_notes([inputs / "notes"], patients, dropped_by(tmp_path, "source")))
    (gone,) = (each for each in everything if each not in kept)
    assert gone[0] == TRAIN[3]
    assert kept == [each for each in everything if each != gone]


def test_it_is_shuffled_by_the_seed_alone(
    tmp_path: Path, inputs: Path, tokenizer: LoadedTokenizer
) -> None:
    def rows(name: str, seed: int | None) -> list[list[int]]:
        write(tmp_path / name, inputs, tokenizer, "train", seed, 0)
        corpus = Corpus(tmp_path / name)
        return [corpus[row].input_ids.tolist() for row in range(len(corpus))]

    ordered, first, again, other = rows("0", None), rows("1", 1), rows("2", 1), rows("3", 2)
    assert first == again
    assert first != ordered
    assert first != other
    assert sorted(first) == sorted(other) == sorted(ordered)
    part = "sequences/part-0.parquet"
    assert (tmp_path / "1" / part).read_bytes() == (tmp_path / "2" / part).read_bytes()


def test_it_survives_a_smaller_row_group(
    tmp_path: Path, inputs: Path, tokenizer: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole", inputs, tokenizer, "train", 0, 0)
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 16)
    monkeypatch.setattr("tasks.pretrain.corpus._SEQUENCES_AT_ONCE", 16)
    write(tmp_path / "parts", inputs, tokenizer, "train", 0, 0)
    whole, parts = Corpus(tmp_path / "whole"), Corpus(tmp_path / "parts")
    assert len(parts._bounds) > 3
    for row in [*range(len(whole)), 0, len(whole) - 1]:
        assert whole[row].input_ids.tolist() == parts[row].input_ids.tolist()
        assert whole[row].starts == parts[row].starts
        assert whole[row].subject_ids == parts[row].subject_ids


def test_a_plain_text_is_of_no_patient(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    counts = CorpusWriter(tmp_path, tokenizer, LENGTH, None).write(of_texts(["one", "two"]))
    assert counts["patients"] == 0
    assert set(Corpus(tmp_path)[0].subject_ids) == {NO_PATIENT, PADDING}


def test_a_notes_own_markers_end_no_document(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    notes = ["<s>penicillin</s> none <pad> </s>", "fever"]
    counts = CorpusWriter(tmp_path, tokenizer, LENGTH, None).write(of_texts(notes))
    corpus = Corpus(tmp_path)
    ids = [each for row in range(len(corpus)) for _, piece in pieces(corpus[row]) for each in piece]
    assert (ids.count(tokenizer.bos), ids.count(tokenizer.eos)) == (2, 2)
    assert len(ids) == counts["tokens"]
    assert tokenizer.tokenizer.decode(ids) == "".join(notes)


def test_patients_chosen_for_perplexity_stay_when_more_are_asked_for(inputs: Path) -> None:
    few = patients_of(inputs / "splits", "validation", 3)
    more = patients_of(inputs / "splits", "validation", 5)
    assert set(few) < set(more) < set(VALIDATION)
    assert set(patients_of(inputs / "splits", "validation", 500)) == set(VALIDATION)


def test_no_document_is_an_error(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    with pytest.raises(SourceError, match="no document to pack"):
        CorpusWriter(tmp_path, tokenizer, LENGTH, 0).write([])
