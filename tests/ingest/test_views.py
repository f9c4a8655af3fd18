"""Which notes a view reads, what it makes of them, and what it may not be used for."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.ingest.config import FullView, IngestConfig, RadiologyView
from tasks.ingest.outcomes.config import (
    DeathAfterDischargeConfig,
    DiagnosesConfig,
    LengthOfStayConfig,
    MortalityConfig,
)
from tests.ingest.conftest import SmallSource
from tests.ingest.test_cohort import build

NOTE = "Chief Complaint:\npain\n\nBrief Hospital Course:\nOperated.\n"


def test_the_full_view_keeps_the_whole_note_and_its_addenda(
    source: SmallSource, tmp_path: Path
) -> None:
    source.patient(1)
    source.admission(1, 101, note=None)
    source.note(1, 101, "Late addition.", kind="AD")
    source.note(1, 101, NOTE)
    kept, _, _ = build(source, tmp_path, view=FullView())
    assert kept["note"].to_pylist() == [f"{NOTE.strip()}\n\nLate addition."]


def report(source: SmallSource, hadm_id: int, text: str, taken: str, stored: str = "") -> None:
    source.note(1, hadm_id, text, kind="RR", table="note/radiology", seq=len(text))
    source.rows["note/radiology"][-1] |= {"charttime": taken, "storetime": stored}


def test_radiology_counts_by_when_it_was_stored(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.admission(1, 101)  # at 10:00 on the first of January
    source.admission(1, 102)
    report(source, 101, "Second.", "2152-01-01 12:00:00", "2152-01-02 09:59:00")
    report(source, 101, "In the emergency room.", "2152-01-01 08:00:00")
    report(source, 101, "Stored too late.", "2152-01-01 11:00:00", "2152-01-02 10:00:01")
    report(source, 101, "At no known time.", "")
    report(source, 102, "A day later.", "2152-01-03 12:00:00")
    kept, left_out, counts = build(source, tmp_path, view=RadiologyView(before_hours=24))
    assert kept["note"].to_pylist() == ["In the emergency room.\n\nSecond."]
    assert left_out == {102: "no radiology report before 24 hours"}
    assert counts["admissions_with_several_notes"] == 1


def test_an_addendum_alone_is_no_summary(source: SmallSource, tmp_path: Path) -> None:
    for subject_id in (1, 2):
        source.patient(subject_id)
    source.admission(1, 101)
    source.admission(2, 102, note=None)
    source.note(2, 102, NOTE, kind="AD")
    _, left_out, _ = build(source, tmp_path)
    assert left_out == {102: "an addendum without its discharge note"}


def test_types_of_admission_are_left_out_by_pattern(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    for number, kind in enumerate(("EU OBSERVATION", "NEWBORN", "EW EMER.", "")):
        source.admission(1, 101 + number, admission_type=kind)
    kept, left_out, counts = build(source, tmp_path, excluded=("*observation*", "NEWBORN"))
    assert kept["hadm_id"].to_pylist() == [103, 104]
    assert left_out == {
        101: "admission of type EU OBSERVATION",
        102: "admission of type NEWBORN",
    }
    assert counts["excluded: admission of type NEWBORN"] == 1


@pytest.mark.parametrize(
    ("view", "outcome", "message"),
    [
        (
            FullView(),
            DiagnosesConfig(),
            "at discharge.*'diagnoses' is predicted at admission",
        ),
        (RadiologyView(), MortalityConfig(), "24 hours after admission.*at admission"),
        (RadiologyView(), LengthOfStayConfig(predict_at=12), "predicted 12 hours after"),
    ],
)
def test_a_view_that_knows_more_than_there_is_is_refused(
    view: object, outcome: object, message: str
) -> None:
    given = {"source": Path(), "view": view, "outcomes": (outcome,)}
    with pytest.raises(ValidationError, match=f"{message}.*set the outcome's predict_at"):
        IngestConfig.model_validate(given)
    config = IngestConfig.model_validate(given | {"allow_leak": True})
    assert len(config.leaks) == 1


def test_a_view_that_is_known_in_time_is_taken() -> None:
    later = DiagnosesConfig(predict_at="discharge"), DeathAfterDischargeConfig()
    assert IngestConfig(source=Path(), view=FullView(), outcomes=later).leaks == ()
    day = (LengthOfStayConfig(predict_at=24),)
    assert IngestConfig(source=Path(), view=RadiologyView(), outcomes=day).leaks == ()
    with pytest.raises(ValidationError):  # it is decided by then
        MortalityConfig(predict_at="discharge")
