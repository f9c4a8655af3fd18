"""The ontology: every code with a title, whatever any admission has."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.outcomes import ontology as module
from tasks.ingest.outcomes.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
)
from tasks.ingest.outcomes.ontology import ontology, systems_of
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import Files, write_ontology
from tasks.schemas import ONTOLOGY
from tests.ingest.conftest import SmallSource

MOST_CODES = 20


def written(source: SmallSource, out: Path, *systems: str) -> list[dict[str, str]]:
    files = open_source(source.write(), None)
    reading = ReadConfig(release=files.release, max_reject_share=0.5)
    write_ontology(out, systems, Files(reading, files.paths("procedure_titles")))
    return tables.read(out / "ontology", ONTOLOGY).to_pylist()


def test_it_is_the_same_whatever_admissions_and_their_release_have(
    source: SmallSource, tmp_path: Path
) -> None:
    """No label of any patient enters: a release's titles may be of its admissions' codes only."""
    before = written(source, tmp_path / "before", "icd10cm", "icd9cm", "icd10pcs")
    source.patient(1)
    source.admission(1, 101)
    source.code("diagnoses_icd", 1, 101, ("I214", 10), ("I99999", 10))
    source.code("procedures_icd", 1, 101, ("02703DZ", 10))
    source.title("d_icd_diagnoses", "I214", 10, "Another title")
    source.title("d_icd_diagnoses", "I99999", 10, "A code of this release")
    source.title("d_icd_procedures", "02703DZ", 10, "Another title")
    assert written(source, tmp_path / "after", "icd10cm", "icd9cm", "icd10pcs") == before


def test_a_category_has_its_own_title_and_not_too_many_codes(
    source: SmallSource, tmp_path: Path
) -> None:
    rows = written(source, tmp_path, "icd10cm", "icd9cm", "icd10pcs")
    titles = {(row["system"], row["category"]): row["category_title"] for row in rows}
    assert titles["icd10cm", "I21"] == "Acute myocardial infarction"
    assert ("icd9cm", "V586") in titles
    under: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        assert row["code"].startswith(row["category"])
        under.setdefault((row["system"], row["category"]), []).append(row["code"])
    assert max(map(len, under.values())) == MOST_CODES
    assert all(len(set(codes)) == len(codes) for codes in under.values())
    counts = {system: sum(of == system for of, _ in titles) for system in ("icd10cm", "icd9cm")}
    assert counts["icd10cm"] > 1900
    assert counts["icd9cm"] > 1200


def test_icd_9_procedures_are_the_releases_own(source: SmallSource, tmp_path: Path) -> None:
    source.title("d_icd_procedures", "3611", 9, "Aortocoronary bypass of one artery")
    source.title("d_icd_procedures", "3612", 9, "Aortocoronary bypass of two arteries")
    source.title("d_icd_procedures", "0331", 9, "Spinal tap")
    source.title("d_icd_procedures", "0331", 10, "Of another version")
    rows = written(source, tmp_path, "icd9pcs")
    assert {(row["chapter"], row["category"], row["category_title"]) for row in rows} == {
        ("35", "361", "Aortocoronary bypass"),
        ("01", "033", "Spinal tap"),
    }
    assert {row["code"] for row in rows} == {"3611", "3612", "0331"}


def test_without_any_title_it_is_refused(source: SmallSource, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="take 'ontology' out of the members' summands"):
        written(source, tmp_path, "icd9pcs")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((DiagnosesConfig(),), ("icd9cm", "icd10cm")),
        ((DiagnosesConfig(icd_versions="10"), MortalityConfig()), ("icd10cm",)),
        ((DiagnosesConfig(icd_versions="9"), ProceduresConfig()), ("icd9cm", "icd10pcs")),
        ((DiagnosesConfig(icd_versions="mapped", equivalence_map=Path("map")),), ("icd10cm",)),
        ((MortalityConfig(),), ()),
    ],
)
def test_its_systems_are_those_of_the_outcomes(
    outcomes: tuple[OutcomeConfig, ...], expected: tuple[str, ...]
) -> None:
    """Of versions, those in which admissions are coded: of these, no procedure in ICD-9."""
    counts = {
        "diagnoses": {"observed_icd9": 3, "observed_icd10": 4},
        "procedures": {"observed_icd9": 0, "observed_icd10": 4},
    }
    assert systems_of(outcomes, counts) == expected


def test_the_table_has_each_row_filled() -> None:
    table = ontology(("icd10pcs",), None)
    assert all(min(map(len, table[name].to_pylist())) > 0 for name in ONTOLOGY.names)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
