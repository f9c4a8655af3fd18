"""The eight admission sections, from notes with the traps that the real layout has."""

from __future__ import annotations

import time

import pytest

from tasks.ingest.sections import HEADER, SECTIONS, admission_note, all_sections, sections_of

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


def test_all_sections_in_their_order_under_their_canonical_names() -> None:
    sections = all_sections(NOTE)
    assert [section for section, _ in sections] == [
        *(HEADER, "SERVICE", "ALLERGIES", "ATTENDING", "CHIEF COMPLAINT", "PROCEDURE"),
        *("PRESENT ILLNESS", "MEDICAL HISTORY", "SOCIAL HISTORY", "FAMILY HISTORY"),
        *(
            "PHYSICAL EXAM",
            "PHYSICAL EXAM",
            "DISCHARGE EXAM",
            "PERTINENT RESULTS",
            "PERTINENT RESULTS",
        ),
        *("HOSPITAL COURSE", "MEDICATION ON ADMISSION", "DISCHARGE MEDICATIONS"),
        *("DISCHARGE DISPOSITION", "DISCHARGE DIAGNOSIS", "FOLLOWUP"),
    ]
    bodies = dict(sections)
    assert bodies["DISCHARGE EXAM"] == "Vitals: 97.0, walks"
    assert bodies["HOSPITAL COURSE"] == (
        "# NSTEMI: treated. Physical Exam: improved by then Allergies: none found"
    )
    for section, body in sections_of(NOTE).items():
        assert body == bodies[section]


@pytest.mark.parametrize(
    ("line", "section"),
    [
        ("DISCHARGE MEDICATIONS:", "DISCHARGE MEDICATIONS"),
        ("Discharge Diagnoses:", "DISCHARGE DIAGNOSIS"),
        ("CONDITION ON DISCHARGE:", "DISCHARGE CONDITION"),
        ("Discharge Instructions:", "DISCHARGE INSTRUCTIONS"),
        ("Disposition:", "DISCHARGE DISPOSITION"),
        ("Follow-up instructions:", "FOLLOWUP"),
        ("HOSPITAL COURSE BY SYSTEM:", "HOSPITAL COURSE"),
    ],
)
def test_what_comes_after_the_course_is_named(line: str, section: str) -> None:
    note = f"HPI: pain\n \nHospital Course:\nwell\n \n{line}\nlate\n"
    assert all_sections(note)[-1] == (section, "late")


def test_medications_after_the_course_must_be_said_to_be_of_the_admission() -> None:
    course = "HPI:\npain\n \nHospital Course:\nwell\n"
    for later in (
        " \nMedications:\nnew\n",
        " \n# Home medications: held\n",
        "Home medications: held\n",
        " \nMedication list:\nnew\n",
    ):
        assert sections_of(course + later) == {"PRESENT ILLNESS": "pain"}
    assert "MEDICATION ON ADMISSION" in sections_of(course + " \nHome Medications:\nold\n")


def test_a_disease_in_the_history_is_no_exam() -> None:
    note = "Past Medical History:\n- CAD\nPE: in 2010\n- gout\n \nPE:\nwell\n"
    assert sections_of(note) == {
        "MEDICAL HISTORY": "- CAD PE: in 2010 - gout",
        "PHYSICAL EXAM": "well",
    }


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


def test_an_exam_named_again_under_the_discharge_is_of_the_discharge() -> None:
    note = "Physical Exam:\nearly\n \nDischarge:\nVitals: 98\nPhysical Exam:\nlate\n"
    assert sections_of(note) == {"PHYSICAL EXAM": "early"}


@pytest.mark.parametrize("rule", ["======", "----------", "***"])
def test_a_rule_under_a_heading_belongs_to_the_heading(rule: str) -> None:
    assert sections_of(f"Physical Exam:\n{rule}\nwell\n___\n") == {"PHYSICAL EXAM": "well ___"}
    assert sections_of("Social History:\n___\n") == {"SOCIAL HISTORY": "___"}


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
        "Physical Exam:\n" + " " * 5_000_000,
        "Physical Exam" + ":" * 5_000_000,
        "HPI:\n" + '"' * 5_000_000,
        "\n" * 5_000_000,
        "Allergies - - - " * 300_000,
        "PE\n" + "\t\n" * 1_000_000,
    ],
)
def test_no_text_takes_more_than_linear_time(trap: str) -> None:
    """A pattern that backtracks would need hours for these; the bound is a hundred times ours."""
    began = time.process_time()
    assert set(sections_of(trap)) <= set(SECTIONS)
    assert time.process_time() - began < 30
