"""Titles of codes, from MIMIC's d_icd tables, and of their categories, from ICD itself.

Those tables list codes, whose titles say little about their category: 780 is not "Insomnia,
unspecified", although that is the shortest title of a code in it. `icd_categories.csv.gz` has the
titles of the categories themselves; `infra/icd_categories.py` wrote it, and names its sources.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.outcomes.codes import SYSTEMS, Kind, category, clean

Titles = dict[tuple[int, str], str]  # by version and code

# Words at which a common beginning is not cut off: "Type 2 diabetes mellitus with"
_DANGLING = frozenset(
    (
        *("with", "without", "of", "due", "to", "in", "and", "or", "by", "the", "for", "from"),
        *("at", "on", "a", "an", "as", "during", "other", "not", "unspecified", "specified"),
    )
)
_ENOUGH_WORDS = 2


def titles_of(table: pa.Table | None, kind: Kind, grouping: str) -> Titles:
    """The title of each (version, code), or of each category; the table may be missing.

    A category's title comes from the table where it is there, else from ICD, else from the titles
    of its codes in the table (`category_title`).
    """
    if table is None:
        return icd_titles(kind)
    table = table.filter(pc.not_equal(pc.coalesce(table["long_title"], pa.scalar("")), ""))
    versions, codes = table["icd_version"], clean(table["icd_code"])
    long_titles = table["long_title"].to_pylist()
    code_titles = dict(
        zip(zip(versions.to_pylist(), codes.to_pylist(), strict=True), long_titles, strict=True)
    )
    titles_by_code = icd_titles(kind) | code_titles
    if grouping == "full":
        return titles_by_code
    under: dict[tuple[int, str], list[str]] = {}
    groups = category(codes, versions, kind)
    keys = zip(versions.to_pylist(), groups.to_pylist(), strict=True)
    for key, title in zip(keys, long_titles, strict=True):
        under.setdefault(key, []).append(title)
    return {key: category_title(titles) for key, titles in under.items()} | titles_by_code


@cache
def icd_titles(kind: Kind) -> Titles:
    """The titles of ICD's categories; there are none for ICD-9's procedures."""
    versions = {system: version for version, system in SYSTEMS[kind].items()}
    path = Path(__file__).with_name("icd_categories.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {
            (versions[row["system"]], row["code"]): row["title"]
            for row in csv.DictReader(file)
            if row["system"] in versions
        }


def category_title(titles: Sequence[str]) -> str:
    """A category's title, from those of its codes.

    The words with which all of them begin, if they are at least two, or one of the titles; else
    the shortest title, as one of several.

    >>> category_title(["Type 1 diabetes mellitus and gout", "Type 1 diabetes mellitus without"])
    'Type 1 diabetes mellitus'
    >>> category_title(["Unspecified systolic heart failure", "Heart failure, unspecified"])
    'including Heart failure, unspecified'
    """
    if len(titles) > 1:
        words = _common_start([title.split() for title in titles])
        while words and words[-1].strip(",;:(").lower() in _DANGLING:
            words = words[:-1]
        common = " ".join(words).rstrip(",;:( ")
        whole = len(words) >= _ENOUGH_WORDS or common in titles
        if whole and common.count("(") == common.count(")"):
            return common
    return f"including {min(titles, key=lambda title: (len(title), title))}"


def _common_start(titles: Sequence[Sequence[str]]) -> list[str]:
    """The words with which all titles begin, up to one that only some follow with punctuation."""
    common: list[str] = []
    for words in zip(*titles, strict=False):
        bare = {word.rstrip(",;:") for word in words}
        if len(bare) > 1:
            break
        if len(set(words)) > 1:
            return [*common, bare.pop()]
        common.append(words[0])
    return common
