"""Files as no release should have them: every row is kept or rejected, or one error is raised.

Rows are counted as the csv module counts them, blank lines left out.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest import blocks
from tasks.ingest.key_set import KeySet
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tasks.ingest.source import RELEASES
from tasks.schemas import NOTES
from tasks.threads import prefetched
from tests.ingest.conftest import listed

DISCHARGE = RELEASES["mimic-iv"]["discharge"]
_SCHEMA = pa.schema(
    [
        pa.field("note_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
_HEADER = b"note_id,subject_id,text\n"
_GOOD = b'n1,1,"one\r\ntwo, ""three"""\nn2,2,plain\n\nn3,3,"\0 caf\xc3\xa9\n"\n'
_JUNK = [
    *(b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", b'"', b'""', b",", b",,,", b"\n", b"\r\n", b"\r"),
    *(b"\x1f\x8b", b"n1", b"9" * 30, b"\xf0\x9f", b"x" * 700),
]


def test_a_nul_byte_in_a_text_is_kept(tmp_path: Path) -> None:
    rows, _ = _read(_write(tmp_path, b'n1,1,"a\0b"\nn2,2,\0\n'))
    assert [row["text"] for row in rows] == ["a\0b", "\0"]


def test_rows_of_another_encoding_are_rejected_and_the_others_kept(tmp_path: Path) -> None:
    rows, rejects = _read(_write(tmp_path, b"n1,1,caf\xe9\nn2,2,caf\xc3\xa9\nn\xe4,3,t\n"))
    assert [row["text"] for row in rows] == ["café"]
    assert listed(rejects) == [(2, "text", "is not UTF-8"), (4, "note_id", "is not UTF-8")]


def test_rows_rejected_for_several_reasons_keep_their_own_lines(tmp_path: Path) -> None:
    _, rejects = _read(_write(tmp_path, b'n1,1,\nn2,,"a\nb"\nn3,3,t\n\nn3,4,t\nn4,4,\n'))
    assert listed(rejects) == [
        (2, "text", "is empty"),
        (3, "subject_id", "is empty"),
        (7, "note_id", "occurs twice"),
        (8, "text", "is empty"),
    ]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_GOOD)), st.sampled_from(_JUNK), st.integers(0, 9))),
    st.integers(1, 90),
    st.booleans(),
)
@example([(0, b'"', 0)], 7, True)
def test_a_mutated_file_loses_no_row(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, bytes, int]],
    block_bytes: int,
    zipped: bool,
) -> None:
    body = _GOOD
    for offset, junk, removed in changes:
        body = body[:offset] + junk + body[offset + removed :]
    path = _write(tmp_path_factory.mktemp("fuzz"), body, zipped=zipped)
    _check_all_there(path, body, block_bytes)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 90), st.booleans())
def test_arbitrary_bytes_lose_no_row(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, block_bytes: int, zipped: bool
) -> None:
    path = _write(tmp_path_factory.mktemp("fuzz"), body, zipped=zipped)
    _check_all_there(path, body, block_bytes)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["notes.csv", "notes.csv.gz"]))
@example(b"note_id,subject_id,text\ra", "notes.csv")
@example(b'"', "notes.csv")
@example("note_id,subject_id,text\nn,1,t\n".encode("utf-16"), "notes.csv")
def test_a_file_of_arbitrary_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(data)
    try:
        rows, rejects = _read(path)
    except SourceError:
        return
    assert len(rows) + rejects.count == rejects.rows


def test_a_gzip_cut_off_at_any_byte_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(_HEADER + _GOOD, 6)
    path = tmp_path / "notes.csv.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"notes\.csv\.gz"):
            _read(path)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_a_gzip_with_a_changed_byte_gives_the_same_rows_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, offset: int, change: int
) -> None:
    data = bytearray(gzip.compress(_HEADER + _GOOD, 6, mtime=0))
    data[offset % len(data)] ^= change
    path = tmp_path_factory.mktemp("fuzz") / "notes.csv.gz"
    path.write_bytes(data)
    try:
        rows, rejects = _read(path)
    except SourceError:
        return
    assert (len(rows), rejects.count, rejects.rows) == (3, 0, 3)


def test_gzip_members_are_read_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv.gz"
    path.write_bytes(b"".join(gzip.compress(part) for part in (_HEADER, b"n1,1,a", b"b\nn2,2,c\n")))
    assert [row["text"] for row in _read(path)[0]] == ["ab", "c"]


@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f\x8b", b"\x1f\x8b\x08" + b"\0" * 20])
def test_garbage_behind_a_gzip_is_refused(tmp_path: Path, garbage: bytes) -> None:
    path = _write(tmp_path, _GOOD, zipped=True)
    path.write_bytes(path.read_bytes() + garbage)
    with pytest.raises(SourceError, match=r"notes\.csv\.gz"):
        _read(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, zipped: bool) -> None:
    body = b"".join(b"n%d,1,%s\n" % (number, b"t" * 500) for number in range(1000))
    path = _write(tmp_path, body, zipped=zipped)
    reading = blocks.read_blocks(path, 4000)
    next(reading)
    with path.open("ab") as file:
        file.write(gzip.compress(b"more,1,t\n") if zipped else b"more,1,t\n")
    with pytest.raises(SourceError, match="changed while it was read"):
        list(reading)


def test_a_loop_of_links_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("loop.csv", "folder.csv", "pipe.csv"):
        with pytest.raises(SourceError, match=name):
            _read(tmp_path / name)


def test_a_crlf_in_quotes_survives_at_every_offset_of_the_border(tmp_path: Path) -> None:
    text = "ab\r\ncd\r\n\r\n,e\rf\n" * 3
    body = f'n1,1,"{text}"\r\nn2,2,"{text}"\nn3,3,"{text}"\r\n'.encode()
    path = _write(tmp_path, body)
    for block_bytes in range(1, len(body) + 2):
        rows, rejects = _read(path, block_bytes)
        assert [row["text"] for row in rows] == [text] * 3
        assert not rejects.count


def test_the_parts_written_hold_the_texts_that_the_csv_module_reads(tmp_path: Path) -> None:
    texts = [f'{number},\r\n"é" ' * number for number in range(1, 200)]
    path = tmp_path / "discharge.csv.gz"
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(DISCHARGE.schema.names)
        for number, text in enumerate(texts):
            row = {"note_id": f"n{number}", "subject_id": 1, "hadm_id": 2, "note_type": "DS"}
            row["text"] = text
            writer.writerow([row.get(name, "") for name in DISCHARGE.schema.names])
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        expected = [row["text"] for row in csv.DictReader(file)]
    reader = Reader(path, DISCHARGE.schema, Rejects(path.name, 0.0), "note_id", (), 5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "PART_BYTES", 10_000)
        patch.setattr(blocks, "_PIECE_BYTES", 64)
        assert tables.write_parts(tmp_path / "notes", NOTES, prefetched(reader.batches())) == len(
            texts
        )
    assert len(tables.parts(tmp_path / "notes")) > 10
    assert _digest(tables.read(tmp_path / "notes", NOTES)["text"].to_pylist()) == _digest(expected)


def test_a_table_without_rows_is_one_part(tmp_path: Path) -> None:
    assert tables.write_parts(tmp_path / "notes", NOTES, iter(())) == 0
    assert tables.read(tmp_path / "notes", NOTES).num_rows == 0


def test_an_error_of_the_source_passes_through_the_writers(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([], NOTES)
        raise SourceError("gone")

    with pytest.raises(SourceError, match="gone"):
        tables.write_parts(tmp_path / "notes", NOTES, prefetched(broken()))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-50, 50), max_size=60), max_size=8), st.booleans())
def test_repeated_keys_are_found(batches: list[list[int]], strings: bool) -> None:
    known = set[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.ingest.key_set._FIRST_SLOTS", 4)
        keys_so_far = KeySet()
    for batch in batches:
        expected = [number in known or number in batch[:at] for at, number in enumerate(batch)]
        known.update(batch)
        keys = pa.array([str(number) for number in batch] if strings else batch)
        kind = pa.string() if strings else pa.int64()
        assert keys_so_far.add(pa.chunked_array([keys.cast(kind)])).tolist() == expected


def _check_all_there(path: Path, body: bytes, block_bytes: int) -> None:
    try:
        rows, rejects = _read(path, block_bytes)
    except SourceError as error:
        assert "does not end" in str(error)  # noqa: PT017
        assert _counted_by_csv(body) is None
        return
    assert len(rows) + rejects.count == rejects.rows == _counted_by_csv(body)
    assert len({line for line, _, _ in listed(rejects)}) == rejects.count


def _counted_by_csv(body: bytes) -> int | None:
    """The records of the body; None where the quotes of the last do not close."""
    lines = io.StringIO(body.decode("utf-8", "surrogateescape"), newline="\n").readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    reader = csv.reader([*lines, "the,end\n"])  # quotes left open would swallow it
    fields_of_records: list[list[str] | None] = []
    while True:
        try:
            fields_of_records.append(next(reader))
        except StopIteration:
            break
        except csv.Error:
            fields_of_records.append(None)
    if not fields_of_records or fields_of_records.pop() != ["the", "end"]:
        return None
    return sum(record != [] for record in fields_of_records)


def _write(folder: Path, body: bytes, *, zipped: bool = False) -> Path:
    path = folder / ("notes.csv.gz" if zipped else "notes.csv")
    path.write_bytes(gzip.compress(_HEADER + body, 1) if zipped else _HEADER + body)
    return path


def _read(path: Path, block_bytes: int = 1 << 16) -> tuple[list[dict[str, object]], Rejects]:
    rejects = Rejects(path.name, 1.0)
    reader = Reader(path, _SCHEMA, rejects, "note_id", (), block_bytes)
    return [row for batch in reader.batches() for row in batch.to_pylist()], rejects


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
