"""MIMIC-III 1.4: its tables in the columns of MIMIC-IV's. The paper's outcomes come from it.

Its column names are in capitals, its codes are all ICD-9, and all notes are in one table.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest import mimic_iv
from tasks.ingest.layout import Layout, columns
from tasks.schemas import DATE_TIME, NOTES

_NOTE_COLUMNS = columns(
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
)


def _notes(name: str, category: str, usual: str, addendum: str) -> Layout:
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
            {name: derived[name] if name in derived else kept[name] for name in NOTES.names}
        )

    aliases = {"note_id": ("row_id",)}
    return Layout(name, ("NOTEEVENTS",), _NOTE_COLUMNS, aliases, unique="note_id", shape=shape)


def _born(table: pa.Table) -> pa.Table:
    """The recorded date of birth: 300 years before the first admission if that was at over 89."""
    born = pc.cast(table["dob"], pa.date32(), safe=False)
    return table.drop_columns(["dob"]).append_column("born", born)


def _coded(name: str, file: str, schema: pa.Schema) -> Layout:
    def shape(table: pa.Table) -> pa.Table:
        """Add the version that every code of MIMIC-III has."""
        version = pa.repeat(pa.scalar(9, pa.int32()), table.num_rows)
        return table.append_column("icd_version", version)

    aliases = {"icd_code": ("icd9_code",)}
    return Layout(name, (file,), schema, aliases, rules=(mimic_iv.CODE,), shape=shape)


def _like_mimic_iv(name: str, file: str) -> Layout:
    [layout] = [layout for layout in mimic_iv.LAYOUTS if layout.name == name]
    aliases = {"race": ("ethnicity",), "stay_id": ("icustay_id",)}
    return replace(layout, files=(file,), aliases=aliases)


_CODES = columns({"subject_id": pa.int64(), "hadm_id": pa.int64(), "icd_code": pa.string()}, {})
_TITLES = columns({"icd_code": pa.string()}, {"long_title": pa.string()})

LAYOUTS = (
    _notes("discharge", "Discharge summary", "DS", "AD"),
    _notes("radiology", "Radiology", "RR", "AR"),
    Layout(
        "patients",
        ("PATIENTS",),
        columns({"subject_id": pa.int64()}, {"gender": pa.string(), "dob": DATE_TIME}),
        unique="subject_id",
        shape=_born,
    ),
    _like_mimic_iv("deaths", "PATIENTS"),
    _like_mimic_iv("admissions", "ADMISSIONS"),
    _coded("diagnoses", "DIAGNOSES_ICD", _CODES),
    _coded("procedures", "PROCEDURES_ICD", _CODES),
    _coded("diagnosis_titles", "D_ICD_DIAGNOSES", _TITLES),
    _coded("procedure_titles", "D_ICD_PROCEDURES", _TITLES),
    _like_mimic_iv("icu_stays", "ICUSTAYS"),
    Layout(  # mimic-code's ventilation_durations, exported as CSV
        "ventilation",
        ("VENTILATION_DURATIONS", "VENTDURATIONS"),
        columns({"stay_id": pa.int64()}, {"starttime": DATE_TIME, "endtime": DATE_TIME}),
        {"stay_id": ("icustay_id",)},
    ),
)
