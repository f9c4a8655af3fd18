"""Damaged files: the same numbers, or a sentence that names the artifact; never other numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import EvaluationError
from tasks.evaluate.measuring import Work, write_metrics
from tests.evaluate.made_up import MadeUp, make_run

FOOTER_BYTES = 2500  # at the end of a file: short and fragile, so every other flip goes there
FILES = (
    "predictions-fused/fused/diagnoses/test.parquet",
    "outcome-diagnoses/outcomes/part-0.parquet",
    "outcome-diagnoses/labels/part-0.parquet",
    "cohort/admissions/part-0.parquet",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make_run(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def whole(run: MadeUp) -> list[dict]:
    return _measured(run)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short(run: MadeUp, whole: list[dict], name: str, share: float) -> None:
    place = run.folder / name
    told = _told(run, whole, place, place.read_bytes()[: int(share * place.stat().st_size)])
    assert told, "a cut file has no footer"


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(FILES), st.booleans(), st.data())
def test_flipped_bytes(
    run: MadeUp, whole: list[dict], name: str, footer: bool, data: st.DataObject
) -> None:
    place = run.folder / name
    spoiled = bytearray(place.read_bytes())
    first = max(0, len(spoiled) - FOOTER_BYTES) if footer else 0
    for at in data.draw(st.lists(st.integers(first, len(spoiled) - 1), min_size=1, max_size=3)):
        spoiled[at] ^= data.draw(st.integers(1, 255))
    _told(run, whole, place, bytes(spoiled))


def _told(run: MadeUp, whole: list[dict], place: Path, spoiled: bytes) -> str:
    """What the user is told; nothing where the numbers are the same."""
    before = place.read_bytes()
    place.write_bytes(spoiled)
    rows, words = [], ""
    try:
        rows = _measured(run)
    except EvaluationError as error:
        words = str(error)
    finally:
        place.write_bytes(before)
    assert words or rows == whole, "other numbers, and nobody was told"
    assert not words or words.startswith(
        f"{run.folder.name}/{place.relative_to(run.folder).parts[0]}: "
    )
    assert len(words) < 300
    assert not any(str(one) in words for one in run.test_ids)
    return words


def _measured(run: MadeUp) -> list[dict]:
    """The metric rows of the diagnoses of one model."""
    out = run.folder / "measured"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    outcome = {"diagnoses": run.outcomes["diagnoses"]}
    work = Work(run.cohort, outcome, run.artifacts[:1], subgroups=False)
    write_metrics(out, work, run="test", seed=0)
    return pq.read_table(out / "metrics.parquet").to_pylist()
