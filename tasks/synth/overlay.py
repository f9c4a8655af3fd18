"""Add invented notes to real MIMIC-IV tables that come without any (the open demo)."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tasks.synth.hospital import COLUMNS
from tasks.synth.notes import BLANK_LINE
from tasks.synth.phrases import PHRASES

_PHRASES = PHRASES.overlay
_MENTIONED = 0.6  # share of an admission's diagnoses that its admission sections name

Row = dict[str, str]


def overlay(tables: Path, folder: Path, seed: int = 7) -> None:
    """Copy the real tables into `folder` and add a discharge note for each admission.

    The notes have MIMIC-IV's layout; their admission sections name some of the admission's
    diagnosis titles, the hospital course all of them. Each admission gets one radiology report.
    The same tables and seed give the same bytes.
    """
    for part in ("hosp", "icu"):
        if (tables / part).is_dir():
            shutil.copytree(tables / part, folder / part, dirs_exist_ok=True)
    titles = {
        (row["icd_code"].strip(), row["icd_version"]): row["long_title"]
        for row in _read(tables / "hosp" / "d_icd_diagnoses.csv.gz")
    }
    sexes = {row["subject_id"]: row["gender"] for row in _read(tables / "hosp" / "patients.csv.gz")}
    named: dict[str, list[str]] = defaultdict(list)
    codes = _read(tables / "hosp" / "diagnoses_icd.csv.gz")
    for row in sorted(codes, key=lambda row: (row["hadm_id"], int(row["seq_num"]))):
        title = titles.get((row["icd_code"].strip(), row["icd_version"]))
        if title:
            named[row["hadm_id"]].append(title)
    discharge: list[Row] = []
    radiology: list[Row] = []
    for stay in sorted(
        _read(tables / "hosp" / "admissions.csv.gz"), key=lambda row: row["hadm_id"]
    ):
        draw = Random(f"{seed}-{stay['hadm_id']}")
        known = named[stay["hadm_id"]]
        number = 1 + sum(row["subject_id"] == stay["subject_id"] for row in discharge)
        sex = sexes.get(stay["subject_id"], "")
        discharge.append(_row(stay, "DS", number, _discharge_note(known, sex, draw)))
        radiology.append(_row(stay, "RR", number, _report(known, draw)))
    _write(folder / "note" / "discharge.csv.gz", discharge)
    _write(folder / "note" / "radiology.csv.gz", radiology)


def _discharge_note(titles: list[str], sex: str, draw: Random) -> str:
    """A note whose admission sections name about that share (_MENTIONED) of the titles."""
    mentioned = [title for title in titles if draw.random() < _MENTIONED] or titles[:1]
    first, past = (mentioned[0].lower(), mentioned[1:]) if mentioned else ("malaise", [])
    opening = draw.choice(_PHRASES.openings).format(first)
    history = "\n".join(draw.choice(_PHRASES.past).format(title.lower()) for title in past)
    return BLANK_LINE.join(_PHRASES.note).format(
        sex=sex,
        person="woman" if sex == "F" else "man",
        complaint=first,
        opening=opening,
        past=history or "None",
        course="\n".join(f"# {title}: treated as usual." for title in titles),
        diagnoses="\n".join(titles),
    )


def _report(titles: list[str], draw: Random) -> str:
    indication = draw.choice(titles).lower() if titles else "malaise"
    return BLANK_LINE.join(_PHRASES.report).format(indication=indication)


def _row(stay: Row, note_type: str, number: int, text: str) -> Row:
    time = stay["dischtime"] if note_type == "DS" else stay["admittime"]
    return {
        "note_id": f"{stay['subject_id']}-{note_type}-{number}",
        "subject_id": stay["subject_id"],
        "hadm_id": stay["hadm_id"],
        "note_type": note_type,
        "note_seq": str(number),
        "charttime": f"{time[:10]} 00:00:00" if note_type == "DS" else time,
        "storetime": time,
        "text": text,
    }


def _read(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _write(path: Path, rows: list[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS["note/discharge"].split(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), 3, mtime=0))
