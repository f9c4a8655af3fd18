"""MIMIC-III 1.4: its tables in the columns of MIMIC-IV's. The paper's outcomes come from it.

Its column names are in capitals, its codes are all ICD-9, and all notes are in one table.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest import mimic_iv
from tasks.ingest.layout import Layout, columns
from tasks.ingest.rules import CODE
from tasks.schemas import DATE_TIME, NOTES

_MIMIC_IV = {layout.name: layout for layout in mimic_iv.LAYOUTS}
_SUMMARY = "Discharge summary"
_RADIOLOGY = "Radiology"


def _notes(category: str, usual: str, addendum: str) -> Callable[[pa.Table], pa.Table]:
    """Rows of one category as MIMIC-IV's notes; notes marked as errors are left out."""

    def shape(table: pa.Table) -> pa.Table:
        wanted = pc.equal(pc.utf8_trim_whitespace(table["category"]), category)
        sound = pc.not_equal(pc.coalesce(table["iserror"], pa.scalar("0")), "1")
        kept = table.filter(pc.and_(pc.fill_null(wanted, False), sound))
        added = pc.match_substring(kept["description"], "addendum", ignore_case=True)
        derived = {
            "note_type": pc.if_else(pc.fill_null(added, False), addendum, usual),
            "note_seq": pa.nulls(kept.num_rows, pa.int32()),
            "charttime": pc.coalesce(kept["charttime"], kept["chartdate"]),
        }
        return pa.table(
            {name: derived.get(name, _column_or_null(kept, name)) for name in NOTES.names}
        )

    return shape


def _column_or_null(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    return table[name] if name in table.column_names else None


def _nine(table: pa.Table) -> pa.Table:
    """Add the version that every code of MIMIC-III has."""
    version = pa.repeat(pa.scalar(9, pa.int32()), table.num_rows)
    return table.append_column("icd_version", version)


def _born(table: pa.Table) -> pa.Table:
    """The recorded date of birth: 300 years before the first admission if that was at over 89."""
    born = pc.cast(table["dob"], pa.date32(), safe=False)
    return table.drop_columns(["dob"]).append_column("born", born)


def _note_layout(name: str, category: str, usual: str, addendum: str) -> Layout:
    return Layout(
        name,
        ("NOTEEVENTS",),
        columns(
            {
                "note_id": pa.string(),
                "subject_id": pa.int64(),
                "text": pa.large_string(),
                "category": pa.string(),
            },
            {
                "hadm_id": pa.int64(),
                "chartdate": DATE_TIME,
                "charttime": DATE_TIME,
                "storetime": DATE_TIME,
                "description": pa.string(),
                "iserror": pa.string(),
            },
        ),
        aliases={"note_id": ("row_id",)},
        unique="note_id",
        shape=_notes(category, usual, addendum),
    )


def _codes(name: str, file: str) -> Layout:
    schema = columns({"subject_id": pa.int64(), "hadm_id": pa.int64(), "icd_code": pa.string()}, {})
    return Layout(name, (file,), schema, {"icd_code": ("icd9_code",)}, rules=(CODE,), shape=_nine)


def _titles(name: str, file: str) -> Layout:
    schema = columns({"icd_code": pa.string()}, {"long_title": pa.string()})
    return Layout(name, (file,), schema, {"icd_code": ("icd9_code",)}, rules=(CODE,), shape=_nine)


def _like_mimic_iv(name: str, file: str) -> Layout:
    layout = _MIMIC_IV[name]
    return Layout(
        name,
        (file,),
        layout.schema,
        {"race": ("ethnicity",), "stay_id": ("icustay_id",)},
        layout.unique,
        layout.rules,
    )


LAYOUTS = (
    _note_layout("discharge", _SUMMARY, "DS", "AD"),
    _note_layout("radiology", _RADIOLOGY, "RR", "AR"),
    Layout(
        "patients",
        ("PATIENTS",),
        columns({"subject_id": pa.int64()}, {"gender": pa.string(), "dob": DATE_TIME}),
        unique="subject_id",
        shape=_born,
    ),
    _like_mimic_iv("deaths", "PATIENTS"),
    _like_mimic_iv("admissions", "ADMISSIONS"),
    _codes("diagnoses", "DIAGNOSES_ICD"),
    _codes("procedures", "PROCEDURES_ICD"),
    _titles("diagnosis_titles", "D_ICD_DIAGNOSES"),
    _titles("procedure_titles", "D_ICD_PROCEDURES"),
    _like_mimic_iv("icu_stays", "ICUSTAYS"),
    Layout(  # mimic-code's ventilation_durations, exported as CSV
        "ventilation",
        ("VENTILATION_DURATIONS", "VENTDURATIONS"),
        columns({"stay_id": pa.int64()}, {"starttime": DATE_TIME, "endtime": DATE_TIME}),
        {"stay_id": ("icustay_id",)},
    ),
)
