"""Codes grouped by a table of the user's, and ICD-9 mapped forward."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.errors import ConfigError, SourceError
from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.outcomes.groups import read_groups
from tasks.ingest.outcomes.mapping import read_map
from tests.ingest.conftest import SmallSource
from tests.ingest.test_outcomes import admit, make, names

CCS = """NOTE: New codes are introduced in October.
'ICD-9-CM CODE','CCS CATEGORY','CCS CATEGORY DESCRIPTION','ICD-9-CM CODE DESCRIPTION'
'     ','0    ','No DX',"INVALID CODES, IN USER DATA"
'4019 ','98   ','Essential hypertension',"HYPERTENSION NOS"
'25000','49   ','Diabetes mellitus, plain',"DMII WO CMP, NT ST UNCNTR"
"""
CCSR = """'ICD-10-CM CODE','ICD-10-CM CODE DESCRIPTION','CCSR CATEGORY 1',\
'CCSR CATEGORY 1 DESCRIPTION','CCSR CATEGORY 2','CCSR CATEGORY 2 DESCRIPTION'
'E1122','Diabetes with kidney disease','END003','Diabetes, complicated','GEN003','Kidney disease'
'I10','Essential hypertension','CIR007','Essential hypertension',' ',' '
"""
GEM = """icd_9,icd_10,flags
4019,I10,00000
25000,E119,10000
7999,R6889,10000
7999,R69,10000
8888,R6881,10000
8888,S001,10000
8888,R6882,10000
V1234,NoDx,11000
"""


@pytest.fixture
def coded(source: SmallSource) -> SmallSource:
    admit(source, 101, 102)
    source.code("diagnoses_icd", 1, 101, ("4019", 9), ("25000", 9), ("7999", 9), ("V1234", 9))
    source.code("diagnoses_icd", 1, 102, ("I10", 10), ("E1122", 10))
    return source


def test_ccs_groups_icd_9_diagnoses(coded: SmallSource, tmp_path: Path) -> None:
    table = tmp_path / "ccs.csv"
    table.write_text(CCS)
    config = DiagnosesConfig(min_count=1, grouping="ccs", grouping_file=table, icd_versions="9")
    outcomes, labels, counts = make(coded, tmp_path, config)
    assert names(outcomes[101], labels) == {("icd9cm", "98"), ("icd9cm", "49")}
    assert labels[0]["title"] == "Diabetes mellitus, plain"
    assert counts["code_rows_without_a_group"] == 2
    assert not outcomes[102]["observed"]


def test_ccsr_gives_a_code_several_groups(coded: SmallSource, tmp_path: Path) -> None:
    table = tmp_path / "ccsr.csv"
    table.write_text(CCSR)
    config = DiagnosesConfig(min_count=1, grouping="file", grouping_file=table, icd_versions="10")
    outcomes, labels, _ = make(coded, tmp_path, config)
    groups = {code for _, code in names(outcomes[102], labels)}
    assert groups == {"END003", "GEN003", "CIR007"}


def test_a_table_of_ones_own_may_serve_both_versions(coded: SmallSource, tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("group,code,title\nheart,401.9,Heart\nheart,I10,Heart\nsugar,25000,\n")
    config = DiagnosesConfig(min_count=1, grouping="file", grouping_file=table)
    outcomes, labels, counts = make(coded, tmp_path, config)
    assert names(outcomes[101], labels) == {("icd9cm", "heart"), ("icd9cm", "sugar")}
    assert names(outcomes[102], labels) == {("icd10cm", "heart")}
    assert counts["code_rows_without_a_group"] == 3
    assert counts["untitled_labels"] == 1


def test_icd_9_is_mapped_forward_by_the_stated_rule(coded: SmallSource, tmp_path: Path) -> None:
    table = tmp_path / "gem.csv"
    table.write_text(GEM)
    config = DiagnosesConfig(min_count=1, icd_versions="mapped", equivalence_map=table)
    outcomes, labels, counts = make(coded, tmp_path, config)
    # 7999 has one target each in R68 and R69: the first listed stands for it
    assert {code for _, code in names(outcomes[101], labels)} == {"I10", "E11", "R68"}
    assert {label["code_system"] for label in labels} == {"icd10cm"}
    assert outcomes[101]["code_system"] == outcomes[102]["code_system"] == "icd10cm"
    assert counts["code_rows_mapped"] == 3
    assert counts["code_rows_mapped_by_majority"] == 1
    assert counts["code_rows_without_a_map"] == 1
    assert read_map(table).codes["8888"] == "R6881"  # two of its three targets are in R68


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "icd_9,icd_10,flags\n0010\n"])
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match="correct grouping_file"):
        read_groups(path)
    with pytest.raises(ConfigError, match="correct equivalence_map"):
        read_map(path)


@pytest.mark.parametrize("reading", [read_groups, read_map])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"code;group\n4019;heart\n", "separated by semicolons"),
        ("code,group\n4019,heart\n".encode("utf-16"), "is in UTF-16"),
        ("code,group\n4019,Müdigkeit\n".encode("latin-1"), "is not in UTF-8"),
        (b"PK\3\4", "is a zip archive or an Excel workbook"),
    ],
)
def test_a_table_that_is_no_csv_is_called_what_it_is(
    tmp_path: Path, data: bytes, message: str, reading: Callable[[Path], object]
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        reading(path)


def test_a_table_may_be_compressed(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfcode,group\r\n401.9,heart\r\n"))
    assert read_groups(path)["group"].to_pylist() == ["heart"]


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("code,group,version\n4019,heart,nine\n")
    with pytest.raises(ConfigError, match="correct grouping_file"):
        read_groups(path)


def test_settings_that_do_not_fit_together_are_refused() -> None:
    for wrong in (
        {"grouping": "ccs"},
        {"grouping_file": "x.csv"},
        {"grouping": "ccs", "grouping_file": "x.csv"},
        {"icd_versions": "mapped"},
        {"equivalence_map": "x.csv"},
    ):
        with pytest.raises(ValidationError):
            DiagnosesConfig.model_validate(wrong)
    with pytest.raises(ValidationError):  # two thirds of their codes map to several categories
        ProceduresConfig.model_validate({"icd_versions": "mapped"})
