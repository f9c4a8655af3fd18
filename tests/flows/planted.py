"""Words planted into the notes of a source, to be looked for wherever they must not be."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

WORDS = ("zyxqua Plantworthy", "Quonvestible-Ammerdal")
RARE = "Xylquorbian"  # of fewer than 20 patients: not even as a term may it leave the parts
_RARE_NOTES = 15


def plant(source: Path, every: int = 9) -> None:
    """Write the words into the history of every ninth note of both tables of notes.

    The rare word stands in the hospital course of the first discharge notes.
    """
    for name in ("discharge", "radiology"):
        path = source / "note" / f"{name}.csv.gz"
        with gzip.open(path, "rt", newline="") as file:
            header, *rows = csv.reader(file)
        for row in rows[::every]:
            row[-1] = row[-1].replace("Illness:\n", f"Illness:\n{WORDS[0]}. ") + f"\n{WORDS[1]}\n"
        for row in rows[:_RARE_NOTES]:
            row[-1] = row[-1].replace("Course:\n", f"Course:\n{RARE}. ")
        with gzip.open(path, "wt", newline="", compresslevel=1) as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


def identifiers(source: Path, count: int = 20) -> list[str]:
    """Some patients', admissions' and notes' identifiers of the source."""
    with gzip.open(source / "note" / "discharge.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    return [row[column] for row in rows for column in ("note_id", "subject_id", "hadm_id")]
