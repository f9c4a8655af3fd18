"""The ingest stage on real tables: CodiEsp's, and the MIMIC-IV demo's with notes laid over."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from tasks import tables
from tasks.ingest.config import AdmissionView, SplitConfig
from tasks.ingest.outcomes.codes import category
from tasks.ingest.outcomes.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
)
from tasks.ingest.outcomes.titles import icd_titles
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import (
    Files,
    write_cohort,
    write_notes,
    write_outcome,
    write_splits,
)
from tasks.schemas import ADMISSIONS, LABELS, NOTES, OUTCOMES
from tasks.synth.overlay import overlay


class Stage:
    """The stage's parts, one after the other, without Prefect."""

    def __init__(self, folder: Path, out: Path, split: SplitConfig) -> None:
        self.folder, self.out = folder, out
        files = self.files("discharge", "patients", "admissions")
        self.notes = write_notes(out / "notes", files.open("discharge"))
        self.splits = write_splits(out / "splits", files, split)
        parts = out / "notes", out / "splits", files
        self.cohort = write_cohort(out / "cohort", *parts, AdmissionView(), ())

    def outcome(self, config: OutcomeConfig) -> dict[str, int]:
        files = self.files(*config.tables, *config.titles)
        return write_outcome(self.out / config.name, config, self.out / "cohort", files)

    def files(self, *names: str) -> Files:
        found = open_source(self.folder, None)
        reading = ReadConfig(release=found.release, max_reject_share=0.0)
        return Files(reading, found.paths(*names))


@pytest.fixture(scope="module")
def codiesp(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = real_data / "codiesp-as-mimic-iv"
    split = SplitConfig(method="file", file=folder / "splits.csv")
    return Stage(folder, tmp_path_factory.mktemp("codiesp"), split)


@pytest.fixture(scope="module")
def demo(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("demo")
    overlay(real_data / "mimic-iv-demo-2.2", folder / "source")
    return Stage(folder / "source", folder / "out", SplitConfig())


def test_codiesp_ingests_with_its_official_split(codiesp: Stage) -> None:
    assert codiesp.notes == {"rows": 1000, "notes": 1000, "rejected": 0}
    assert codiesp.cohort["admissions"] == 1000
    split = tables.read(codiesp.out / "cohort" / "admissions", ADMISSIONS, ["split"])["split"]
    assert Counter(split.to_pylist()) == {"train": 500, "validation": 250, "test": 250}


def test_codiesp_keeps_the_words_of_its_cases(codiesp: Stage) -> None:
    """A case's text stands under one heading; none of its own headings may lose a part of it."""
    columns = ["hadm_id", "text"]
    notes = tables.read(codiesp.out / "notes" / "notes", NOTES, columns).to_pylist()
    columns = ["hadm_id", "note"]
    cohort = tables.read(codiesp.out / "cohort" / "admissions", ADMISSIONS, columns).to_pylist()
    kept = {row["hadm_id"]: len(row["note"].split()) for row in cohort}
    shares = [kept[note["hadm_id"]] / len(note["text"].split()) for note in notes]
    assert sum(share > 0.95 for share in shares) >= 990


def test_codiesp_has_the_labels_of_its_reference(codiesp: Stage) -> None:
    """124 categories with 10 or more training cases, 10 with 50 or more (SOURCES.md)."""
    assert codiesp.outcome(DiagnosesConfig(min_count=10))["labels"] == 124
    counts = codiesp.outcome(DiagnosesConfig(min_count=50))
    assert counts["labels"] == 10
    assert counts["code_rows"] == 11_158
    assert codiesp.outcome(ProceduresConfig())["code_rows"] == 3_246


def test_the_demo_has_its_published_counts(demo: Stage) -> None:
    """MIMIC-IV demo 2.2: mimic-code's validate_demo.sql, and the ICD versions counted."""
    assert sum(demo.splits[name] for name in ("train", "validation", "test")) == 100
    assert demo.cohort["source_admissions"] == demo.cohort["admissions"] == 275
    counts = demo.outcome(DiagnosesConfig(min_count=5))
    assert counts["code_rows"] == 4_506
    assert counts["code_rows_outside_the_cohort"] == 0
    assert (counts["observed_icd9"], counts["observed_icd10"]) == (152, 123)
    counts = demo.outcome(ProceduresConfig(min_count=2))
    assert counts["code_rows"] == 722
    assert counts["admissions_without_codes"] == 88
    labels = tables.read(demo.out / "procedures" / "labels", LABELS).to_pylist()
    # it has no d_icd_procedures; what has a title has ICD-10's own of that category
    assert {row["code_system"] for row in labels if row["title"]} == {"icd10pcs"}
    assert (counts["labels"], counts["untitled_labels"]) == (63, 42)
    assert demo.outcome(MortalityConfig())["positives"] == 15


def test_the_demos_labels_have_titles_in_both_versions(demo: Stage) -> None:
    demo.outcome(DiagnosesConfig(min_count=5))
    labels = tables.read(demo.out / "diagnoses" / "labels", LABELS).to_pylist()
    titles = {(row["code_system"], row["code"]): row["title"] for row in labels}
    assert all(titles.values())
    assert "heart failure" in titles["icd9cm", "428"].lower()
    assert titles["icd10cm", "E11"] == "Type 2 diabetes mellitus"
    assert titles["icd9cm", "V586"] == "Long-term (current) drug use"
    assert titles["icd9cm", "780"] == "General symptoms"
    assert titles["icd9cm", "790"] == "Nonspecific findings on examination of blood"
    outcomes = tables.read(demo.out / "diagnoses" / "outcomes", OUTCOMES).to_pylist()
    assert all(
        labels[i]["code_system"] == row["code_system"] for row in outcomes for i in row["labels"]
    )


def test_every_category_of_icd_diagnoses_has_its_title(real_data: Path) -> None:
    """The codes as CMS lists them: what is shipped misses no category, and changes no title."""
    with gzip.open(real_data / "icd" / "CMS32_DESC_LONG_DX.txt.gz", "rt", encoding="latin-1") as f:
        nine = pa.chunked_array([[line.split(maxsplit=1)[0] for line in f]])
    titles = icd_titles("diagnoses")
    versions = pa.chunked_array([pa.repeat(9, len(nine))])
    groups = set(category(nine, versions, "diagnoses").to_pylist())
    assert len(groups) == 1_778
    assert {(9, group) for group in groups} <= titles.keys()
    with gzip.open(real_data / "icd" / "icd10cm-order-Jan-2021.csv.gz", "rt") as f:
        listed = {row["code"]: row["long"] for row in csv.DictReader(f) if len(row["code"]) == 3}
    assert {code: title for (version, code), title in titles.items() if version == 10} == listed


def test_equal_tables_and_seed_give_equal_notes(real_data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        overlay(real_data / "mimic-iv-demo-2.2", tmp_path / name, seed)
    first, second, other = (
        (tmp_path / name / "note" / "discharge.csv.gz").read_bytes() for name in "abc"
    )
    assert first == second != other
