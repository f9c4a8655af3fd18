"""Writes a source in MIMIC-IV's layout as one table of texts and labels, for tests alone."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

WARDS = ("medical", "surgical")


def to_table(mimic: Path, path: Path) -> Path:
    """Write a .csv or .parquet of every discharge note: columns text, id, patient, time, split,
    labels (the categories of its diagnoses; in CSV as "A;B"), died (0 or 1) and ward (a class)."""
    codes: dict[str, set[str]] = defaultdict(set)
    for row in _rows(mimic, "hosp/diagnoses_icd"):
        codes[row["hadm_id"]].add(row["icd_code"][:3])
    died = {
        row["hadm_id"]: int(row["hospital_expire_flag"] or 0)
        for row in _rows(mimic, "hosp/admissions")
    }
    operated = {row["hadm_id"] for row in _rows(mimic, "hosp/procedures_icd")}
    notes = _rows(mimic, "note/discharge")
    table = pa.table(
        {
            "id": [row["note_id"] for row in notes],
            "patient": [row["subject_id"] for row in notes],
            "time": [row["charttime"] for row in notes],
            "text": [row["text"] for row in notes],
            "labels": [sorted(codes[row["hadm_id"]]) for row in notes],
            "died": [died[row["hadm_id"]] for row in notes],
            "ward": [WARDS[row["hadm_id"] in operated] for row in notes],
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return path
    joined = pa.array([";".join(labels) for labels in table["labels"].to_pylist()])
    pacsv.write_csv(table.set_column(4, "labels", joined), path)
    return path


def _rows(mimic: Path, table: str) -> list[dict[str, str]]:
    with gzip.open(mimic / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
