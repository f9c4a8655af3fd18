"""The copies in ../shared/data: a release rebuilt from them is imported to the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.imports.codiesp import import_codiesp
from tasks.imports.e3c import import_e3c
from tests.imports.releases import (
    by_code,
    codiesp_of,
    content,
    e3c_of,
    tables_in,
    write_e3c,
)

TITLES = ("hosp/d_icd_diagnoses.csv.gz", "hosp/d_icd_procedures.csv.gz")


@pytest.fixture(scope="module")
def imported(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All labelled cases of CodiEsp, and the background cases that the copy has."""
    folder = tmp_path_factory.mktemp("codiesp")
    copies = real_data / "codiesp-as-mimic-iv", real_data / "codiesp-background-as-mimic-iv"
    import_codiesp(codiesp_of(*copies).write(folder / "release"), folder / "out")
    return folder / "out"


def test_codiesp_is_the_copy_but_for_titles(real_data: Path, imported: Path) -> None:
    copy, own = tables_in(real_data / "codiesp-as-mimic-iv"), tables_in(imported / "codiesp")
    assert own.keys() == copy.keys()
    same = copy.keys() - {*TITLES}
    assert [name for name in same if content(own[name]) != content(copy[name])] == []


@pytest.mark.parametrize(("name", "untitled"), [("diagnoses", 0), ("procedures", 0.06)])
def test_its_codes_are_the_copys_and_most_have_its_titles(
    real_data: Path, imported: Path, name: str, untitled: float
) -> None:
    """The project ships at most 20 codes a category; others have their category's title."""
    table = f"hosp/d_icd_{name}.csv.gz"
    copy = by_code(real_data / "codiesp-as-mimic-iv" / table)
    own = by_code(imported / "codiesp" / table)
    assert list(own) == list(copy)
    assert sum(not title for title in own.values()) <= untitled * len(own)
    assert sum(own[code] == copy[code] for code in own) >= 0.7 * len(own)


def test_the_background_is_the_copy(real_data: Path, imported: Path) -> None:
    copy = tables_in(real_data / "codiesp-background-as-mimic-iv")
    own = tables_in(imported / "codiesp-background")
    assert own.keys() == copy.keys()
    assert [name for name in own if content(own[name]) != content(copy[name])] == []


def test_e3c_is_the_copy(real_data: Path, tmp_path: Path) -> None:
    documents = e3c_of(real_data / "e3c-as-mimic-iv")
    closed = documents[0] | {"id": "EN100001", "licence": "CC BY-NC", "text": "Of no use."}
    write_e3c(tmp_path / "corpus", [*documents, closed])
    assert import_e3c(tmp_path / "corpus", tmp_path / "out").left_out == 1
    copy, own = tables_in(real_data / "e3c-as-mimic-iv"), tables_in(tmp_path / "out" / "e3c")
    assert own.keys() == copy.keys()
    assert [name for name in own if content(own[name]) != content(copy[name])] == []
