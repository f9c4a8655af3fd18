"""Writes tasks/ingest/outcomes/icd_codes.csv.gz: titles of ICD's codes, at most 20 a category.

    python infra/icd_codes.py icd10cm-order.csv.gz CMS32_DESC_LONG_DX.txt.gz icd10pcs_codes.csv.gz

All titles are works of the US government (NCHS, CMS) and in the public domain. They come from

- icd10cm-order.csv.gz: the order file of ICD-10-CM, fiscal year 2021, as CSV: code, billable, long;
- CMS32_DESC_LONG_DX.txt.gz: the long titles of ICD-9-CM's diagnoses, version 32;
- icd10pcs_codes.csv.gz: ICD-10-PCS as CSV: code, long_title.

A category with more codes gives 20 that are spread evenly over it. ICD-9's procedures are missing:
no list of their codes was at hand.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).parents[1] / "tasks" / "ingest" / "outcomes" / "icd_codes.csv.gz"
MOST_CODES = 20  # of a category

Row = tuple[str, str, str]  # system, code, title


def main(ten: Path, nine: Path, procedures: Path) -> None:
    """Write the table, the same bytes for the same input."""
    under: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted({*_ten(ten), *_nine(nine), *_procedures(procedures)}):
        system, code, _ = row
        under[system, code[: _width(system, code)]].append(row)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("system", "code", "title"))
    for _, rows in sorted(under.items()):
        number = min(MOST_CODES, len(rows))
        writer.writerows(rows[index * len(rows) // number] for index in range(number))
    OUT.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


def _width(system: str, code: str) -> int:
    """Characters of a code's category."""
    return 4 if system == "icd10pcs" or (system == "icd9cm" and code[0] in "VE") else 3


def _ten(path: Path) -> Iterator[Row]:
    for row in _rows(path):
        if row["billable"] == "1":
            yield "icd10cm", row["code"], row["long"]


def _nine(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="latin-1") as file:
        for line in file:
            code, title = line.split(None, 1)
            yield "icd9cm", code, title.strip()


def _procedures(path: Path) -> Iterator[Row]:
    for row in _rows(path):
        yield "icd10pcs", row["code"], row["long_title"]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
