"""The source folder looks like MIMIC-IV, and is the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tasks.synth.hospital import COLUMNS
from tasks.synth.synthesize import SynthSummary, synthesize
from tests.synth.conftest import Population, lines_of


def test_same_seed_same_bytes(small: SynthSummary, tmp_path: Path) -> None:
    again = synthesize(tmp_path / "again", patients=400, seed=3, chunk_patients=150)
    assert _digests(again.folder) == _digests(small.folder)
    other = synthesize(tmp_path / "other", patients=400, seed=4)
    assert (
        _digests(other.source)["note/discharge.csv.gz"]
        != (_digests(small.source)["note/discharge.csv.gz"])
    )


def test_a_patient_does_not_depend_on_how_many_there_are(
    small: SynthSummary, tmp_path: Path
) -> None:
    fewer = synthesize(tmp_path, patients=90, seed=3, chunk_patients=37)
    for table in COLUMNS:
        few, many = (lines_of(s.source / f"{table}.csv.gz") for s in (fewer, small))
        assert few == many[: len(few)], table


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_tables_have_the_columns_of_mimic(small: SynthSummary, table: str) -> None:
    rows = lines_of(small.source / f"{table}.csv.gz")
    assert rows
    assert list(rows[0]) == COLUMNS[table].split()
    assert all(None not in row and None not in row.values() for row in rows)


def test_ids_lie_in_the_ranges_of_mimic_and_are_unique(small: SynthSummary) -> None:
    patients = [row["subject_id"] for row in lines_of(small.source / "hosp/patients.csv.gz")]
    admissions = [row["hadm_id"] for row in lines_of(small.source / "hosp/admissions.csv.gz")]
    stays = [row["stay_id"] for row in lines_of(small.source / "icu/icustays.csv.gz")]
    for ids, first in ((patients, "1"), (admissions, "2"), (stays, "3")):
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(first + r"\d{7}", one) for one in ids)
    assert len(admissions) / len(patients) == pytest.approx(1.43, abs=0.12)


def test_notes_are_laid_out_as_in_mimic(small: SynthSummary) -> None:
    for row in lines_of(small.source / "note/discharge.csv.gz"):
        assert row["note_id"] == f"{row['subject_id']}-DS-{row['note_seq']}"
        assert row["charttime"].endswith(" 00:00:00")
        text = row["text"]
        headings = [
            "Name:",
            "Allergies: ",
            "Attending: ___",
            "Chief Complaint:",
            "Major Surgical or Invasive Procedure:",
            "History of Present Illness:",
            "Past Medical History:",
            "Social History:\n___\nFamily History:",
            "Physical Exam:",
            "DISCHARGE PHYSICAL EXAM:",
            "Pertinent Results:",
            "Brief Hospital Course:",
            "Medications on Admission:",
            "Discharge Medications:",
            "Discharge Disposition:",
            "Discharge Diagnosis:",
            "Discharge Condition:",
            "Discharge Instructions:",
        ]
        places = [text.index("\n" + heading) for heading in headings]
        assert places == sorted(places)
        assert "\n \n" in text
        assert not re.search(r"\d+ ?(?:year|yo\b)", text)  # ages are written ___


def test_death_and_the_codes_stand_in_the_later_sections_only(small: SynthSummary) -> None:
    died = {
        row["hadm_id"]
        for row in lines_of(small.source / "hosp/admissions.csv.gz")
        if row["hospital_expire_flag"] == "1"
    }
    assert died
    for row in lines_of(small.source / "note/discharge.csv.gz"):
        before, after = row["text"].split("Physical Exam:", 1)
        assert ("expired" in after.lower()) == (row["hadm_id"] in died)
        assert "expired" not in before.lower()


def test_codes_are_of_one_version_an_admission_and_explained(small: SynthSummary) -> None:
    for kind in ("diagnoses", "procedures"):
        rows = lines_of(small.source / f"hosp/{kind}_icd.csv.gz")
        known = {
            (row["icd_code"], row["icd_version"])
            for row in lines_of(small.source / f"hosp/d_icd_{kind}.csv.gz")
        }
        assert {(row["icd_code"], row["icd_version"]) for row in rows} <= known
        versions: dict[str, set[str]] = {}
        for row in rows:
            versions.setdefault(row["hadm_id"], set()).add(row["icd_version"])
        assert all(len(found) == 1 for found in versions.values())


def test_shares_follow_the_published_counts(population: Population) -> None:
    """63% of the noted admissions in ICD-9, a third without procedures, radiology anywhere."""
    noted = sum(int(part.stays.noted.sum()) for part in population.parts)
    tenth = sum(
        int((part.stays.noted & (part.stays.version == 10)).sum()) for part in population.parts
    )
    assert tenth / noted == pytest.approx(0.37, abs=0.03)
    procedures = [
        o for part in population.parts for o in part.labels if o.space.outcome != "diagnoses"
    ]
    without = sum(int((~o.drawn.any(1)).sum()) for o in procedures)
    assert without / sum(len(o.rows) for o in procedures) == pytest.approx(88 / 275, abs=0.12)


def test_radiology_has_reports_outside_any_admission(small: SynthSummary) -> None:
    reports = lines_of(small.source / "note/radiology.csv.gz")
    outside = sum(report["hadm_id"] == "" for report in reports)
    assert 0.2 < outside / len(reports) < 0.5
    by_patient = Counter(report["subject_id"] for report in reports)
    assert set(by_patient.values()) == {1, 2, 3}


def test_ventilation_and_stays_fit_together(small: SynthSummary) -> None:
    stays = {row["stay_id"]: row for row in lines_of(small.source / "icu/icustays.csv.gz")}
    events = lines_of(small.source / "icu/procedureevents.csv.gz")
    assert any(event["itemid"] == "225792" for event in events)
    for event in events:
        stay = stays[event["stay_id"]]
        assert stay["hadm_id"] == event["hadm_id"]
        assert stay["intime"] <= event["starttime"] <= event["endtime"]
        assert event["endtime"] <= stay["outtime"]
    # and who was ventilated has the procedure's code, where anything was coded
    coded = {row["hadm_id"] for row in lines_of(small.source / "hosp/diagnoses_icd.csv.gz")}
    by_code = {
        row["hadm_id"]
        for row in lines_of(small.source / "hosp/procedures_icd.csv.gz")
        if row["icd_code"][:3] == "967" or row["icd_code"][:4] == "5A19"
    }
    by_event = {event["hadm_id"] for event in events if event["itemid"] == "225792"}
    assert by_event & coded <= by_code


def test_times_of_an_admission_are_in_order(small: SynthSummary) -> None:
    last: dict[str, str] = {}
    for row in lines_of(small.source / "hosp/admissions.csv.gz"):
        assert row["admittime"] < row["dischtime"]
        assert last.get(row["subject_id"], "") < row["admittime"]
        last[row["subject_id"]] = row["dischtime"]
        assert (row["deathtime"] != "") == (row["hospital_expire_flag"] == "1")


def test_facts_tell_the_knobs_and_what_they_made(small: SynthSummary) -> None:
    facts = json.loads(small.facts.read_text())
    assert facts["patients"] == 400
    assert facts["difficulty"]["held_out_share"] == 0.33
    assert facts["measured"]["unmentioned_share"] >= 0.25
    assert facts["rows"]["note/discharge"] == facts["measured"]["admissions_noted"]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_memory_does_not_grow_with_the_number_of_patients(tmp_path: Path) -> None:
    peaks = []
    for patients in (100, 500):
        tracemalloc.start()
        folder = tmp_path / str(patients)
        synthesize(folder, patients=patients, general_characters=10_000, chunk_patients=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
