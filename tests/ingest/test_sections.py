"""The eight admission sections, from notes with the traps that the real layout has."""

from __future__ import annotations

import time

import pytest

from tasks.ingest.sections import SECTIONS, admission_note, sections_of

NOTE = """ 
Name:  ___                     Unit No:   ___
 
Admission Date:  ___              Discharge Date:   ___
 
Date of Birth:  ___             Sex:   F
 
Service: MEDICINE
 
Allergies: 
Penicillins / morphine
 
Attending: ___.
 
Chief Complaint:
shortness of breath
 
Major Surgical or Invasive Procedure:
Coronary catheterization
 
History of Present Illness:
___ yo woman with COPD who presents with
dyspnea for ___ days.

In the ED, initial vitals: 98.1 88 128/70.
Labs were notable for: troponin 0.4.

On the floor: she feels better. ROS: no discharge from the wound.
 
Past Medical History:
COPD
Hypertension: on two drugs
 
Social History:
___
Family History:
Father died of MI; he expired at ___.
 
Physical Exam:
ADMISSION PHYSICAL EXAM:
Vitals: 98.1
Eyes: purulent
discharge from the left eye
 
DISCHARGE PHYSICAL EXAM:
========
Vitals: 97.0, walks
 
Pertinent Results:
ADMISSION LABS: Hgb 12
 
Brief Hospital Course:
# NSTEMI: treated.
Physical Exam: improved by then
Allergies: none found
 
Medications on Admission:
1. Albuterol
2. Lisinopril
 
Discharge Medications:
1. Clopidogrel
 
Discharge Disposition:
Home
 
Discharge Diagnosis:
NSTEMI
 
Followup Instructions:
___
"""


def test_each_section_of_a_note_in_the_real_layout() -> None:
    assert sections_of(NOTE) == {
        "CHIEF COMPLAINT": "shortness of breath",
        "PRESENT ILLNESS": "___ yo woman with COPD who presents with dyspnea for ___ days. "
        "In the ED, initial vitals: 98.1 88 128/70. Labs were notable for: troponin 0.4. "
        "On the floor: she feels better. ROS: no discharge from the wound.",
        "MEDICAL HISTORY": "COPD Hypertension: on two drugs",
        "MEDICATION ON ADMISSION": "1. Albuterol 2. Lisinopril",
        "ALLERGIES": "Penicillins / morphine",
        "PHYSICAL EXAM": "Vitals: 98.1 Eyes: purulent discharge from the left eye",
        "FAMILY HISTORY": "Father died of MI; he expired at ___.",
        "SOCIAL HISTORY": "___",
    }


def test_nothing_of_the_stay_gets_into_the_admission_note() -> None:
    note = admission_note([sections_of(NOTE)])
    for word in ("NSTEMI", "Clopidogrel", "catheterization", "walks", "Hgb", "none found"):
        assert word not in note


def test_windows_line_ends_make_no_difference() -> None:
    assert sections_of(NOTE.replace("\n", "\r\n")) == sections_of(NOTE)


@pytest.mark.parametrize(
    "heading",
    [
        "DISCHARGE PHYSICAL EXAM:",
        "Discharge exam:",
        "Discharge:",
        "=== DISCHARGE ===",
        "D/C EXAM:",
        "PHYSICAL EXAM ON DISCHARGE:",
        "Physical examination at the time of discharge:",
        "Exam prior to discharge:",
        "Vital signs on day of discharge:",
        "On discharge:",
        "DISCHARGE PE",
        "Discharge vitals: 98",
    ],
)
def test_an_exam_at_discharge_is_cut_from_the_exam(heading: str) -> None:
    note = f"Physical Exam:\nGeneral: early\n{heading}\nGeneral: late\n \nPertinent Results:\nnone"
    assert sections_of(note) == {"PHYSICAL EXAM": "General: early"}


def test_an_exam_that_begins_with_the_discharge_keeps_the_admission() -> None:
    note = "Physical Exam:\nOn discharge:\nlate\nOn admission:\nearly\nAt discharge:\nlate\n"
    assert sections_of(note) == {"PHYSICAL EXAM": "early"}
    note = "Physical Exam:\nDISCHARGE EXAM:\nlate\nADMISSION EXAM:\nearly\n"
    assert sections_of(note) == {"PHYSICAL EXAM": "early"}


def test_a_note_with_nothing_but_the_present_illness() -> None:
    sections = sections_of("History of Present Illness:\nPain.\nTreatment: none\n")
    assert sections == {"PRESENT ILLNESS": "Pain. Treatment: none"}
    assert admission_note([sections]) == "PRESENT ILLNESS: Pain. Treatment: none"


def test_a_note_without_complaint_illness_or_history_says_nothing() -> None:
    assert admission_note([sections_of("Allergies:\nnone\n \nPhysical Exam:\nwell\n")]) == ""
    assert admission_note([]) == ""


def test_an_addendum_adds_what_it_has_and_repeats_nothing() -> None:
    first = sections_of("Chief Complaint:\npain\n \nAllergies:\nnone\n")
    second = sections_of("Chief Complaint:\npain\n \nAllergies:\nlatex\n")
    assert admission_note([first, second]) == "CHIEF COMPLAINT: pain\n\nALLERGIES: none latex"


def test_the_phrase_that_the_patient_died_goes_from_exam_and_medications() -> None:
    note = "Physical Exam:\ncold, the patient has expired, pupils wide\n"
    assert sections_of(note) == {"PHYSICAL EXAM": "cold, the , pupils wide"}


@pytest.mark.parametrize(
    "trap",
    [
        "a" * 2_000_000,
        " \n" * 500_000,
        "a b " * 500_000 + ":",
        "\n=" * 500_000,
        "Physical Exam:\n" + "\nphysical exam " * 200_000,
        "Physical Exam:\n" + "patient " * 300_000,
        "Chief Complaint:\n" * 100_000,
    ],
)
def test_no_text_takes_more_than_linear_time(trap: str) -> None:
    """A pattern that backtracks would need hours for these; the bound is a hundred times ours."""
    began = time.process_time()
    assert set(sections_of(trap)) <= set(SECTIONS)
    assert time.process_time() - began < 30
