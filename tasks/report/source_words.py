"""What a page calls the source of its notes, by its kind in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WHOSE = "whose and of what kind, the artifacts do not tell: to be named by the authors"
_ROWS = (
    "A row of the table is a text of its own, and is what this page calls an admission; the table "
    "says nothing of hospital stays."
)


@dataclass(frozen=True)
class SourceWords:
    """What is said of a source of a kind."""

    kind: str
    asked: str  # how well the models do what
    subjects: str  # of a prediction model
    records: str  # what the rows are, without whose
    notes: str  # of a patient
    dates: str  # what is not known of them; empty: it depends on the source
    rows: str = ""  # what counts as an admission, where it is none

    @property
    def described(self) -> str:
        """What the rows are, and what the artifacts do not tell of them."""
        return " ".join(filter(None, (f"{self.records}; {_WHOSE}.", self.rows)))


_WORDS = {
    words.kind: words
    for words in (
        SourceWords(
            kind="mimic",
            asked="rank admitted patients by what happens to them",
            subjects="hospital admissions",
            records="Records laid out as MIMIC's tables",
            notes="discharge notes",
            dates="MIMIC shifts them, and the artifacts hold no others",
        ),
        SourceWords(
            kind="table",
            asked="rank texts by their labels",
            subjects="labelled texts",
            records="One table of texts, with their labels beside them",
            notes="notes",
            dates="",
            rows=_ROWS,
        ),
        SourceWords(
            kind="omop",
            asked="rank admitted patients by what happens to them",
            subjects="hospital admissions",
            records="Records laid out as OMOP's tables",
            notes="notes",
            dates="",
        ),
    )
}


def source_words(source: Any) -> SourceWords:
    """What is said of a source.

    Args:
        source: as configured: MIMIC's folder, or a mapping with its kind.

    >>> source_words("/data/mimic-iv").subjects, source_words({"kind": "table"}).subjects
    ('hospital admissions', 'labelled texts')
    """
    kind = source.get("kind", "mimic") if isinstance(source, Mapping) else "mimic"
    return _WORDS[str(kind)]
