"""MIMIC-IV 2.2 and 3.1 with MIMIC-IV-Note 2.2: its tables, their columns and types.

From mimic-code's create.sql of MIMIC-IV and MIMIC-IV-Note. Version 1.0 kept two tables in `core/`,
and called race ethnicity.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.demands import Rule
from tasks.ingest.layout import Layout, columns
from tasks.ingest.outcomes.codes import clean
from tasks.schemas import DATE_TIME

INVASIVE_VENTILATION = 225792  # d_items: what procedureevents calls it


def _born(table: pa.Table) -> pa.Table:
    """anchor_age in anchor_year as a date of birth, the first of January.

    Years since then are anchor_age + (year - anchor_year), as in MIMIC's documentation.
    """
    years = pc.subtract(table["anchor_year"], table["anchor_age"])
    text = pc.binary_join_element_wise(pc.cast(years, pa.string()), "-01-01", "")
    return table.drop_columns(["anchor_age", "anchor_year"]).append_column(
        "born", pc.cast(pc.strptime(text, "%Y-%m-%d", "s"), pa.date32())
    )


def _invasive(table: pa.Table) -> pa.Table:
    kept = table.filter(pc.equal(table["itemid"], INVASIVE_VENTILATION))
    return kept.drop_columns(["itemid"])


def _is_no_version(table: pa.Table) -> pa.ChunkedArray:
    versions = table["icd_version"]
    return pc.invert(pc.is_in(versions, pa.array([9, 10], versions.type)))


def _is_no_flag(table: pa.Table) -> pa.ChunkedArray:
    flags = table["hospital_expire_flag"]
    return pc.and_not(flags.is_valid(), pc.is_in(flags, pa.array([0, 1], flags.type)))


_VERSION = Rule("icd_version", "is neither 9 nor 10", _is_no_version)
CODE = Rule("icd_code", "is blank", lambda table: pc.equal(clean(table["icd_code"]), ""))
_FLAG = Rule("hospital_expire_flag", "is neither 0 nor 1", _is_no_flag)

_NOTE_IDS = {"note_id": pa.string(), "subject_id": pa.int64()}
_NOTE_REST = {"note_type": pa.string(), "text": pa.large_string()}
_NOTE_TIMES = {"note_seq": pa.int32(), "charttime": DATE_TIME, "storetime": DATE_TIME}
_IDS = {"subject_id": pa.int64(), "hadm_id": pa.int64()}
_CODES = columns(_IDS | {"icd_code": pa.string(), "icd_version": pa.int32()}, {})
_TITLES = columns({"icd_code": pa.string(), "icd_version": pa.int32()}, {"long_title": pa.string()})
_RULES = (_VERSION, CODE)

LAYOUTS = (
    Layout(
        "discharge",
        ("note/discharge",),
        columns(_NOTE_IDS | {"hadm_id": pa.int64()} | _NOTE_REST, _NOTE_TIMES),
        unique="note_id",
    ),
    Layout(  # hadm_id: null for reports outside any admission
        "radiology",
        ("note/radiology",),
        columns(_NOTE_IDS | _NOTE_REST, _NOTE_TIMES | {"hadm_id": pa.int64()}),
        unique="note_id",
    ),
    Layout(
        "patients",
        ("hosp/patients", "core/patients"),
        columns(
            {"subject_id": pa.int64()},
            {"gender": pa.string(), "anchor_age": pa.int32(), "anchor_year": pa.int32()},
        ),
        unique="subject_id",
        shape=_born,
    ),
    Layout(
        "anchor_years",
        ("hosp/patients", "core/patients"),
        columns({"subject_id": pa.int64(), "anchor_year_group": pa.string()}, {}),
        unique="subject_id",
    ),
    Layout(  # if a patient is listed twice, both dates of death count
        "deaths",
        ("hosp/patients", "core/patients"),
        columns({"subject_id": pa.int64()}, {"dod": DATE_TIME}),
    ),
    Layout(
        "admissions",
        ("hosp/admissions", "core/admissions"),
        columns(
            _IDS | {"admittime": DATE_TIME, "dischtime": DATE_TIME},
            {
                "race": pa.string(),
                "insurance": pa.string(),
                "language": pa.string(),
                "admission_type": pa.string(),
                "hospital_expire_flag": pa.int32(),
                "deathtime": DATE_TIME,
            },
        ),
        aliases={"race": ("ethnicity",)},
        unique="hadm_id",
        rules=(_FLAG,),
    ),
    Layout("diagnoses", ("hosp/diagnoses_icd",), _CODES, rules=_RULES),
    Layout("procedures", ("hosp/procedures_icd",), _CODES, rules=_RULES),
    Layout("diagnosis_titles", ("hosp/d_icd_diagnoses",), _TITLES, rules=_RULES),
    Layout("procedure_titles", ("hosp/d_icd_procedures",), _TITLES, rules=_RULES),
    Layout(
        "icu_stays",
        ("icu/icustays",),
        columns(_IDS | {"stay_id": pa.int64(), "intime": DATE_TIME}, {"outtime": DATE_TIME}),
        unique="stay_id",
    ),
    Layout(
        "ventilation",
        ("icu/procedureevents",),
        columns(
            {"stay_id": pa.int64(), "itemid": pa.int32()},
            {"starttime": DATE_TIME, "endtime": DATE_TIME},
        ),
        shape=_invasive,
    ),
)
