"""CSV files of every kind of badness: what is kept, what is rejected, and where."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.errors import SourceError
from tasks.ingest.demands import Rule
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tests.ingest.conftest import listed

SCHEMA = pa.schema(
    [
        pa.field("note_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("charttime", pa.timestamp("us")),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
HEADER = b"note_id,subject_id,charttime,other,text\n"


def read(
    path: Path, *, share: float = 1.0, block_bytes: int = 1 << 20, rules: tuple[Rule, ...] = ()
) -> tuple[list[dict[str, object]], list[tuple[int, str | None, str]], Rejects]:
    rejects = Rejects(path.name, share)
    reader = Reader(path, SCHEMA, rejects, "note_id", rules, block_bytes)
    rows = [row for batch in reader.batches() for row in batch.to_pylist()]
    return rows, listed(rejects), rejects


def write(folder: Path, body: bytes, name: str = "notes.csv", header: bytes = HEADER) -> Path:
    path = folder / name
    data = header + body
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    return path


def test_quoted_newlines_quotes_and_na_are_read_as_they_stand(tmp_path: Path) -> None:
    body = b'a,1,2150-01-02 03:04:05,,"one\n""two"", NA\r\nthree"\nb,2,,x,NA\n'
    rows, rejected, _ = read(write(tmp_path, body, "notes.csv.gz"))
    assert rows == [
        {
            "note_id": "a",
            "subject_id": 1,
            "charttime": datetime(2150, 1, 2, 3, 4, 5),
            "text": 'one\n"two", NA\r\nthree',
        },
        {"note_id": "b", "subject_id": 2, "charttime": None, "text": "NA"},
    ]
    assert rejected == []


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (b"x,1,2150-13-01 00:00:00,,t", "charttime", "is not a time"),
        (b"x,1,yesterday,,t", "charttime", "is not a time"),
        (b"x,one,,,t", "subject_id", "is not a whole number"),
        (b"x,1.0,,,t", "subject_id", "is not a whole number"),
        (b"x,99999999999999999999,,,t", "subject_id", "is not a whole number"),
        (b"x,,,,t", "subject_id", "is empty"),
        (b"x,1,,,", "text", "is empty"),
        (b'x,1,,,""', "text", "is empty"),
        (b"x,1,,t", None, "has 4 columns instead of 5"),
        (b"x,1,,,t,", None, "has 6 columns instead of 5"),
        (b"x,1,,,caf\xe9", "text", "is not UTF-8"),
        (b"x,1,,,a\rb", None, "is no CSV record"),
        (b"ok1,1,,,t", "note_id", "occurs twice"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_the_others_stay(
    tmp_path: Path, row: bytes, column: str | None, reason: str
) -> None:
    body = b'ok1,1,,,"two\nlines"\n\n' + row + b"\nok2,2,2150-01-01,,t\n"
    rows, rejected, rejects = read(write(tmp_path, body))
    assert [kept["note_id"] for kept in rows] == ["ok1", "ok2"]
    assert rejected == [(5, column, reason)]
    assert rejects.rows == 3


def test_a_duplicate_in_another_block_is_rejected(tmp_path: Path) -> None:
    body = b"".join(b"n%d,1,,,%s\n" % (number % 40, b"t" * 50) for number in range(60))
    rows, rejected, _ = read(write(tmp_path, body), block_bytes=300)
    assert len(rows) == 40
    assert [line for line, _, _ in rejected] == list(range(42, 62))


def test_a_rule_rejects_what_breaks_it(tmp_path: Path) -> None:
    rule = Rule("subject_id", "is odd", lambda table: pa.array([False, True, False]))
    rows, rejected, _ = read(write(tmp_path, b"a,2,,,t\nb,3,,,t\nc,4,,,t\n"), rules=(rule,))
    assert [row["note_id"] for row in rows] == ["a", "c"]
    assert rejected == [(3, "subject_id", "is odd")]


def test_more_bad_rows_than_allowed_stop_the_run_without_quoting_one(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,1,,,t\nb,secret,,,t\nc,1,,,t\nd,1,,,t\n")
    read(path, share=0.25)
    with pytest.raises(
        SourceError, match=r"1 of 4 rows .*line 3: subject_id .*whole number"
    ) as raised:
        read(path, share=0.24)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("offset", range(-3, 4))
def test_a_crlf_on_a_block_border_survives(tmp_path: Path, offset: int) -> None:
    """pyarrow's own blocks lose a line feed here (arrow #51368)."""
    block = 1 << 16
    lead = b'n0,1,,,"'
    text = b"a" * (block - len(lead) + offset) + b"\r\n" + b"b" * block + b"\r\nend"
    body = lead + text + b'"\n' + b'n1,1,,,"\r\n\r\n"\n'
    path = write(tmp_path, body, "notes.csv.gz")
    rows, _, _ = read(path, block_bytes=block)
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        expected = [row["text"] for row in csv.DictReader(file)]
    assert _digest([str(row["text"]) for row in rows]) == _digest(expected)


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


# what can stand in a cell; the pieces that bring parsers down among them
CELLS = st.one_of(
    st.sampled_from(["", "1", "23", "x", "NA", " ", "2150-01-01 00:00:00", "2150-02-30", "-5"]),
    st.text(st.sampled_from('ab,"\r\n\0 é1'), max_size=6),
)
ROWS = st.lists(st.lists(CELLS, min_size=4, max_size=6), max_size=12)
RAW = st.lists(
    st.sampled_from([b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"a", b"1", b",1,,,t\n", b"\xff"]),
    max_size=60,
).map(b"".join)


def _as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _counted_by_csv(body: bytes) -> int:
    """Records of the body as the csv module counts them, blank lines left out."""
    text = body.decode("utf-8", "surrogateescape")
    lines = [line + "\n" for line in text.split("\n")][: None if text.split("\n")[-1] else -1]
    reader, count = csv.reader(lines), 0
    while True:
        try:
            count += next(reader) != []
        except StopIteration:
            return count
        except csv.Error:
            count += 1


@settings(max_examples=500, deadline=None)
@given(ROWS.map(_as_csv) | RAW, st.integers(1, 80))
@example(b'a"b,1,,,"t\nu"\n', 4)
@example(b',1,,,"a""\n"\n', 3)
def test_rows_in_are_rows_kept_and_rows_rejected(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, block_bytes: int
) -> None:
    """Whatever the bytes and the block: nothing is dropped, and the block makes no difference."""
    path = write(tmp_path_factory.mktemp("fuzz"), body)
    try:
        rows, rejected, rejects = read(path, block_bytes=block_bytes)
    except SourceError as error:
        assert "does not end" in str(error)  # noqa: PT017
        assert body.count(b'"')
        return
    assert len(rows) + len(rejected) == rejects.rows == _counted_by_csv(body)
    assert (rows, rejected) == read(path)[:2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.sampled_from('ab,"\r\n\0 é'), min_size=1), max_size=8), st.integers(1, 60)
)
def test_well_formed_text_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], block_bytes: int
) -> None:
    body = _quoted([[f"n{number}", "1", "", "", text] for number, text in enumerate(texts)])
    rows, rejected, _ = read(write(tmp_path_factory.mktemp("fuzz"), body), block_bytes=block_bytes)
    assert [row["text"] for row in rows] == texts
    assert rejected == []


def _quoted(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def test_a_note_larger_than_a_block_and_a_missing_last_newline(tmp_path: Path) -> None:
    text = "word\n" * 1_000_000
    rows, _, _ = read(write(tmp_path, f'a,1,,,"{text}"\nb,2,,,end'.encode(), "notes.csv.gz"))
    assert [row["text"] for row in rows] == [text, "end"]


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"".join(b"n%d,1,,,t\n" % n for n in range(5000)), "notes.csv.gz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"notes.csv.gz ends in the middle"):
        read(path)


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"".join(b"n%d,1,,,t\n" % n for n in range(5000)), "notes.csv.gz")
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 0xFF  # of the checksum
    path.write_bytes(damaged)
    with pytest.raises(SourceError, match="no valid gzip"):
        read(path)


def test_a_file_cut_off_within_quotes_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, b'a,1,,,"whole"\nb,1,,,"cut o')
    with pytest.raises(SourceError, match="record at line 3 does not end"):
        read(path)


def test_an_empty_file_a_header_alone_and_a_mark_before_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        read(write(tmp_path, b"", header=b""))
    assert read(write(tmp_path, b""))[0] == []
    assert read(write(tmp_path, b"\n\n"))[0] == []
    assert len(read(write(tmp_path, b"a,1,,,t\n", header=b"\xef\xbb\xbf" + HEADER))[0]) == 1


def test_columns_are_found_whatever_their_case_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, b"t,2150-01-01,1,a\r\n", header=b"TEXT,CHARTTIME,Subject_ID,note_id\r\n")
    assert [(row["note_id"], row["text"]) for row in read(path)[0]] == [("a", "t")]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"note_id,charttime,text\n", "lacks the column subject_id"),
        (b"note_id,subject_id,charttime,text,TEXT\n", "more than one column text"),
    ],
)
def test_a_header_that_does_not_fit_is_named(tmp_path: Path, header: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(write(tmp_path, b"", header=header))
