"""What labels are called: by the source's tables, by ICD, by what their codes share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.outcomes.titles import category_title, icd_titles
from tests.ingest.conftest import SmallSource
from tests.ingest.test_outcomes import admit, make

Named = dict[tuple[str, str], str | None]


def named(
    source: SmallSource, out: Path, kind: str = "diagnoses", grouping: str = "category"
) -> Named:
    config = DiagnosesConfig if kind == "diagnoses" else ProceduresConfig
    _, labels, counts = make(
        source, out, config.model_validate({"min_count": 1, "grouping": grouping})
    )
    titles = {(label["code_system"], label["code"]): label["title"] for label in labels}
    assert counts["untitled_labels"] == sum(title is None for title in titles.values())
    return titles


@pytest.fixture
def coded(source: SmallSource) -> SmallSource:
    """Codes of categories that are called otherwise than the shortest of their codes."""
    admit(source, 101, 102)
    nine = [(code, 9) for code in ("78052", "7994", "7907", "V5861", "E8497", "0388")]
    source.code("diagnoses_icd", 1, 101, *nine)
    source.code("diagnoses_icd", 1, 102, ("V586", 10), ("I10", 10), ("E1122", 10))
    for code, title in (("78052", "Insomnia, unspecified"), ("78002", "Transient alteration")):
        source.title("d_icd_diagnoses", code, 9, title)
    source.title("d_icd_diagnoses", "7994", 9, "Cachexia")
    source.title("d_icd_diagnoses", "7907", 9, "Bacteremia")
    source.title("d_icd_diagnoses", "V586", 10, "A transport accident")
    source.title("d_icd_diagnoses", "V5861", 9, "Long-term use of anticoagulants")
    return source


def test_a_category_has_icds_title_and_not_that_of_a_code(
    coded: SmallSource, tmp_path: Path
) -> None:
    assert named(coded, tmp_path) == {
        ("icd9cm", "780"): "General symptoms",
        ("icd9cm", "799"): "Other ill-defined and unknown causes of morbidity and mortality",
        ("icd9cm", "790"): "Nonspecific findings on examination of blood",
        ("icd9cm", "V586"): "Long-term (current) drug use",
        ("icd9cm", "E849"): "Place of occurrence",
        ("icd9cm", "038"): "Septicemia",
        ("icd10cm", "V58"): (
            "Occupant of pick-up truck or van injured in noncollision transport accident"
        ),
        ("icd10cm", "I10"): "Essential (primary) hypertension",
        ("icd10cm", "E11"): "Type 2 diabetes mellitus",
    }


def test_the_tables_own_row_of_a_category_comes_first(coded: SmallSource, tmp_path: Path) -> None:
    coded.title("d_icd_diagnoses", "780 ", 9, "General symptoms, as we say")
    coded.title("d_icd_diagnoses", "e11", 10, "Diabetes of type 2")
    coded.title("d_icd_diagnoses", "799", 9, "")
    titles = named(coded, tmp_path)
    assert titles["icd9cm", "780"] == "General symptoms, as we say"
    assert titles["icd10cm", "E11"] == "Diabetes of type 2"
    assert str(titles["icd9cm", "799"]).startswith("Other ill-defined")


def test_codes_as_they_stand_have_their_own_titles(coded: SmallSource, tmp_path: Path) -> None:
    titles = named(coded, tmp_path, grouping="full")
    assert titles["icd9cm", "78052"] == "Insomnia, unspecified"
    assert titles["icd10cm", "V586"] == "A transport accident"
    assert titles["icd10cm", "I10"] == "Essential (primary) hypertension"  # a category, too
    assert titles["icd9cm", "0388"] is None


def test_a_category_that_icd_has_no_title_for_includes_one_of_its_codes(
    coded: SmallSource, tmp_path: Path
) -> None:
    coded.code("procedures_icd", 1, 101, ("0331", 9), ("8872", 9), ("9604", 9))
    coded.code("procedures_icd", 1, 102, ("02HV33Z", 10))
    for code, title in (
        ("0331", "Spinal tap"),
        ("0332", "Biopsy of spinal cord or spinal meninges"),
        ("8871", "Diagnostic ultrasound of head and neck"),
        ("8872", "Diagnostic ultrasound of heart"),
    ):
        coded.title("d_icd_procedures", code, 9, title)
    assert named(coded, tmp_path, "procedures") == {
        ("icd9pcs", "033"): "including Spinal tap",
        ("icd9pcs", "887"): "Diagnostic ultrasound",
        ("icd9pcs", "960"): None,
        ("icd10pcs", "02HV"): "Insertion of Superior Vena Cava",
    }


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (
            ["Acute kidney failure with tubular necrosis", "Acute kidney failure, unspecified"],
            "Acute kidney failure",
        ),
        (["Unspecified systolic heart failure", "Heart failure, unspecified"],
         "including Heart failure, unspecified"),
        (["Pneumonia, organism unspecified", "Pneumonia"], "Pneumonia"),
        (["Gout"], "including Gout"),
        (["Other specified disorders of ear", "Other specified injuries"],
         "including Other specified injuries"),
    ],
)  # fmt: skip
def test_a_category_is_called_by_what_its_codes_share(titles: list[str], expected: str) -> None:
    assert category_title(titles) == expected


TITLES = st.lists(
    st.lists(st.sampled_from(["Acute", "Other", "specified", "pain", "of", "head", "(left)", "x,"]),
             min_size=1, max_size=5).map(" ".join), min_size=1, max_size=5)  # fmt: skip


@given(TITLES)
def test_a_category_never_has_the_title_of_one_code_alone(titles: list[str]) -> None:
    common = category_title(titles)
    if not common.startswith("including "):
        assert all(title.startswith(common) for title in titles)
        assert len(titles) > 1


def test_the_titles_that_are_shipped() -> None:
    diagnoses, procedures = icd_titles("diagnoses"), icd_titles("procedures")
    assert len(diagnoses) == 1_867 + 1_911
    assert len(procedures) == 10_859
    assert all(title == title.strip() and len(title) > 2 for title in diagnoses.values())
    assert diagnoses[9, "250"] == "Diabetes mellitus"
    assert diagnoses[10, "I50"] == "Heart failure"
    assert procedures[10, "0QS6"] == "Reposition of Upper Femur, Right"
    assert (10, "3E03") not in procedures  # its codes' titles share no more than one word
