"""Rejected rows: as many as there are, in order, in little memory, and looked at on the way."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import SourceError
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tests.ingest.conftest import listed, rejected_rows

SCHEMA = pa.schema([pa.field("key", pa.int64(), nullable=False), pa.field("text", pa.string())])
BAD, EMPTY, GOOD = b"x\n", b",a\n", b"1,a\n"


def read(path: Path, share: float = 0.01) -> tuple[int, Rejects]:
    rejects = Rejects(path.name, share)
    kept = sum(batch.num_rows for batch in Reader(path, SCHEMA, rejects).batches())
    return kept, rejects


def write(folder: Path, body: bytes, *, packed: bool) -> Path:
    path = folder / "table.csv"
    data = b"key,text\n" + body
    path.write_bytes(gzip.compress(data, 9) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("row", [BAD, EMPTY, b'"x\n y",b,c\n'], ids=["columns", "empty", "quoted"])
def test_a_file_of_bad_rows_is_not_read_to_its_end(
    tmp_path: Path, row: bytes, packed: bool
) -> None:
    path = write(tmp_path, row * 1_500_000, packed=packed)
    rejects = Rejects(path.name, 0.01)
    with pytest.raises(SourceError, match=r"of the first \d+ rows cannot be used, more than"):
        for _ in Reader(path, SCHEMA, rejects).batches():
            pass
    # rows that parse come block by block, of 4 MiB
    assert rejects.count <= (1_400_000 if row == EMPTY else 40_000)


@pytest.mark.parametrize("packed", [False, True])
def test_bad_rows_at_the_beginning_do_not_stop_a_file_that_is_good_enough(
    tmp_path: Path, packed: bool
) -> None:
    """12,000 bad rows of 132,000: 9.1%, although the first 9% of rows are all bad."""
    good = b"1,%s\n" % (b"a" * 50)
    path = write(tmp_path, BAD * 12_000 + good * 120_000, packed=packed)
    kept, rejects = read(path, share=0.1)
    assert (kept, rejects.count, rejects.rows) == (120_000, 12_000, 132_000)


def test_a_file_with_few_bad_rows_is_read_whole_before_it_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, BAD * 50 + GOOD * 50, packed=False)
    with pytest.raises(SourceError, match="50 of 100 rows cannot be used"):
        read(path)
    assert read(path, share=0.5)[0] == 50


def test_rejected_rows_take_little_memory() -> None:
    rejects = Rejects("table.csv", 1.0)
    tracemalloc.start()
    for block in range(20):
        rejects.rows += 200_000
        for column in ("a", None):
            first = block * 100_000
            rejects.add(np.arange(first, first + 100_000), column, "is odd")
        rejects.settle()
    rows = sum(batch.num_rows for batch in rejects.batches())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == rejects.count == 4_000_000
    assert peak < 24 << 20  # Python's and numpy's; 4 million tuples take 500 MiB


BLOCKS = st.lists(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 99), max_size=5),
            st.sampled_from([None, "a", "b"]),
            st.sampled_from(["is empty", "is odd"]),
        ),
        max_size=4,
    ),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(BLOCKS, st.booleans())
def test_every_rejected_row_is_listed_once_in_the_files_order(
    blocks: list[list[tuple[list[int], str | None, str]]], merged: bool
) -> None:
    rejects, expected = Rejects("table.csv", 1.0), []
    for number, block in enumerate(blocks):
        noted = []
        for lines, column, reason in block:
            lines = [number * 100 + line for line in lines]
            rejects.add(np.array(lines, np.int64), column, reason)
            noted += [(line, column, reason) for line in lines]
        rejects.settle()
        expected += sorted(noted, key=lambda row: row[0])
    if merged:
        several = Rejects("folder", 1.0)
        several.add(7, None, "is odd")
        several.take(rejects)
        assert [row["file"] for row in rejected_rows(several)] == ["folder"] + ["table.csv"] * len(
            expected
        )
        expected, rejects = [(7, None, "is odd"), *expected], several
    assert listed(rejects) == expected
    assert listed(rejects) == expected  # reading takes nothing away
    assert rejects.count == len(expected)
