"""What a model read of patients' notes, as web pages: made from the store when they are asked for.

Nothing is written: a note's words stand in the store's Parquet, and otherwise in the browser alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from tasks import schemas, tables
from tasks.drawing.axes import Axis
from tasks.drawing.charts import Series
from tasks.report.figures import Figure, plotted
from tasks.report.findings import outcome_title
from tasks.report.printing import environment
from tasks.store import Manifest, Store

KIND = "evidence"
_LEAST_SHADE = 0.08  # of a marked word; the most attended has the darkest
_MOST_SHADE = 0.6


@dataclass(frozen=True)
class Word:
    """A word that a label attends to."""

    row: dict[str, Any]  # of schemas.EVIDENCE_WORDS

    @property
    def shown(self) -> str:
        """The word; one of white space is named."""
        word: str = self.row["word"]
        return word if word.strip() else "(line break)" if "\n" in word else "(space)"


@dataclass(frozen=True)
class Case:
    """A prediction, and the words that its label attends to, the most attended first."""

    number: int  # in its artifact
    row: dict[str, Any]  # of schemas.EVIDENCE
    words: tuple[Word, ...]

    @property
    def title(self) -> str:
        code, title = self.row["code"], self.row["title"]
        named = f"{code}, {title}" if title else code
        return f"{outcome_title(self.row['outcome'])}: {named}"


@dataclass(frozen=True)
class Evidence:
    """An artifact of that kind."""

    store: Store
    manifest: Manifest

    @classmethod
    def find(cls, store: Store, key: str) -> Evidence | None:
        """None where there is none of that key."""
        manifest = store.manifest(KIND, key) if key.isalnum() else None
        return cls(store, manifest) if manifest else None

    @cached_property
    def cases(self) -> list[Case]:
        """All predictions of which there is evidence; those of a label in a row."""
        folder = self.store.path(KIND, self.manifest.key)
        rows = tables.read(folder / "evidence", schemas.EVIDENCE).to_pylist()
        words: dict[tuple[Any, ...], list[Word]] = {}
        for row in tables.read(folder / "words", schemas.EVIDENCE_WORDS).to_pylist():
            words.setdefault(_named(row), []).append(Word(row))
        return [
            Case(number, row, tuple(words.get(_named(row), ()))) for number, row in enumerate(rows)
        ]

    def note(self, hadm_id: int) -> str | None:
        """The admission's note; None where its cohort is no longer what it was."""
        for made_from in self.manifest.inputs:
            cohort = self.store.manifest(made_from.kind, made_from.key)
            if made_from.kind != "cohort" or cohort is None or cohort.digest != made_from.digest:
                continue
            path = self.store.path(cohort.kind, cohort.key) / "admissions"
            ids = tables.read(path, schemas.ADMISSIONS, ["hadm_id"])["hadm_id"].to_numpy()
            wanted = np.flatnonzero(ids == hadm_id)
            for batch in tables.stream_rows(path, schemas.ADMISSIONS, ["note"], wanted):
                return str(batch["note"][0].as_py())
        return None


def list_page(store: Store) -> str:
    """The store's artifacts of evidence, the newest first."""
    made = [manifest for manifest in reversed(store.manifests()) if manifest.kind == KIND]
    return _page("list", artifacts=made)


def cases_page(evidence: Evidence) -> str:
    """The predictions of an artifact, label by label."""
    by_label = groupby(evidence.cases, key=lambda case: case.title)
    labels = [{"title": title, "cases": list(cases)} for title, cases in by_label]
    name = evidence.manifest.config.get("name", evidence.manifest.key)
    return _page("cases", member=name, labels=labels, key=evidence.manifest.key)


def case_page(evidence: Evidence, case: Case) -> str:
    """A prediction: the note with the words marked, and what taking words out does."""
    note = evidence.note(case.row["hadm_id"])
    text = None if note is None else list(_marked(note, case.words))
    return _page("case", case=case, key=evidence.manifest.key, figure=_figure(case), text=text)


def _page(name: str, **given: Any) -> str:
    return environment().get_template(f"evidence/{name}.html").render(given)


def _named(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["hadm_id"], row["outcome"], row["code_system"], row["code"]


def _marked(note: str, words: Sequence[Word]) -> Iterator[tuple[str, float | None]]:
    """The note in pieces, with the shade of those that are among the words; None: of no word.

    >>> words = [Word({"start": 3, "end": 8, "attention": 0.9})]
    >>> list(_marked("no fever", words))
    [('no ', None), ('fever', 0.6)]
    """
    most = max((word.row["attention"] for word in words), default=0.0) or 1.0
    at = 0
    for word in sorted(words, key=lambda word: int(word.row["start"])):
        start, end = word.row["start"], word.row["end"]
        share = word.row["attention"] / most
        yield from [(note[at:start], None)] if start > at else []
        yield note[start:end], _LEAST_SHADE + (_MOST_SHADE - _LEAST_SHADE) * share
        at = end
    yield from [(note[at:], None)] if at < len(note) else []


def _figure(case: Case) -> Figure:
    """The probability over the share of words that are taken out, or read alone."""
    curves = (
        ("Taken out, by attention", "deletion"),
        ("Taken out, at random", "random"),
        ("Read alone, by attention", "insertion"),
    )
    series = [
        Series(name, [(step / 10, value) for step, value in enumerate(case.row[column])], style)
        for style, (name, column) in enumerate(curves)
    ]
    words = "the probability as words are taken out, and as they are read alone"
    axes = Axis("share of the words", 0, 1), Axis("probability", 0, 1)
    return plotted(case.title, series, *axes, words, "Deletion and insertion:")
