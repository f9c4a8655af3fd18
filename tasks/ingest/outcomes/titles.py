"""Titles of codes and of their categories, from MIMIC-IV's d_icd tables."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.outcomes.codes import Kind, category
from tasks.ingest.rules import clean

# Words at which a common beginning is not cut off: "Type 2 diabetes mellitus with"
_DANGLING = frozenset(
    (
        *("with", "without", "of", "due", "to", "in", "and", "or", "by", "the", "for", "from"),
        *("at", "on", "a", "an", "as", "during", "other", "not", "unspecified"),
    )
)
_ENOUGH_WORDS = 2


def titles_of(table: pa.Table, kind: Kind, grouping: str) -> dict[tuple[int, str], str]:
    """The title of each (version, code), or of each category.

    A category's title is its own where the table has it (ICD's headers); else the words with which
    the titles of all its codes begin, if they are two or more; else the shortest of them.
    """
    table = table.filter(pc.not_equal(pc.coalesce(table["long_title"], pa.scalar("")), ""))
    versions, codes = table["icd_version"], clean(table["icd_code"])
    listed = table["long_title"].to_pylist()
    own = dict(zip(zip(versions.to_pylist(), codes.to_pylist(), strict=True), listed, strict=True))
    if grouping == "full":
        return own
    under: dict[tuple[int, str], list[str]] = {}
    groups = category(codes, versions, kind)
    keys = zip(versions.to_pylist(), groups.to_pylist(), strict=True)
    for key, title in zip(keys, listed, strict=True):
        under.setdefault(key, []).append(title)
    return {key: own.get(key) or category_title(titles) for key, titles in under.items()}


def category_title(titles: Sequence[str]) -> str:
    """The title of a category of which only the codes below have titles.

    >>> category_title(["Type 1 diabetes mellitus and gout", "Type 1 diabetes mellitus without"])
    'Type 1 diabetes mellitus'
    >>> category_title(["Unspecified systolic heart failure", "Heart failure, unspecified"])
    'Heart failure, unspecified'
    """
    if len(titles) > 1:
        words = _common_start([title.split() for title in titles])
        while words and words[-1].strip(",;:(").lower() in _DANGLING:
            words = words[:-1]
        common = " ".join(words).rstrip(",;:( ")
        if len(words) >= _ENOUGH_WORDS and common.count("(") == common.count(")"):
            return common
    return min(titles, key=lambda title: (len(title), title))


def _common_start(titles: Sequence[Sequence[str]]) -> list[str]:
    """The words with which all titles begin; one at which only some pause is the last."""
    common: list[str] = []
    for words in zip(*titles, strict=False):
        bare = {word.rstrip(",;:") for word in words}
        if len(bare) > 1:
            break
        if len(set(words)) > 1:
            return [*common, bare.pop()]
        common.append(words[0])
    return common
