"""The bench's source of full size, at a small share: counts, keys and lengths are MIMIC's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.synth.hospital import COLUMNS
from tests.bench._tables import COUNTS
from tests.bench.full_size import write_full_size
from tests.synth.conftest import lines_of

_SHARE = 0.001


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("full")


@pytest.fixture(scope="module")
def counts(folder: Path) -> dict[str, int]:
    return write_full_size(folder, _SHARE, seed=1)


def test_rows_are_those_of_the_release(folder: Path, counts: dict[str, int]) -> None:
    for name, count in COUNTS.items():
        (table,) = (t for t in counts if t.split("/")[1].removesuffix("_icd") == name)
        rows = lines_of(folder / f"{table}.csv.gz")
        assert list(rows[0]) == COLUMNS[table].split()
        assert len(rows) == counts[table] == round(count * _SHARE)


def test_notes_are_unique_and_as_long_as_the_real_ones(
    folder: Path, counts: dict[str, int]
) -> None:
    patients = {row["hadm_id"]: row["subject_id"] for row in _rows(folder, "hosp/admissions")}
    for kind, length in (("discharge", 10_500), ("radiology", 1_400)):
        notes = _rows(folder, f"note/{kind}")
        texts = [note["text"] for note in notes]
        assert len(set(texts)) == len({note["note_id"] for note in notes}) == len(notes)
        assert sum(map(len, texts)) / len(texts) == pytest.approx(length, rel=0.06)
        inside = [note for note in notes if note["hadm_id"]]
        assert all(patients[note["hadm_id"]] == note["subject_id"] for note in inside)
        assert len(inside) == len(notes) if kind == "discharge" else len(inside) < len(notes)


def test_the_same_seed_writes_the_same_bytes(
    folder: Path, counts: dict[str, int], tmp_path: Path
) -> None:
    assert write_full_size(tmp_path, _SHARE, seed=1) == counts
    for name in counts:
        path = f"{name}.csv.gz"
        assert lines_of(folder / path) == lines_of(tmp_path / path)


def _rows(folder: Path, table: str) -> list[dict[str, str]]:
    return lines_of(folder / f"{table}.csv.gz")
