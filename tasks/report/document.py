"""A page in parts: each is made and rendered by itself, in every form, and fails by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.report.missing import Missing, attempt, failures
from tasks.report.printing import environment

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A section: its anchor and its templates' name, its title, and what they are given."""

    name: str
    title: str
    facts: Callable[[], Facts] = dict


@dataclass(frozen=True)
class Written:
    """A section as text of a page."""

    name: str
    title: str
    text: str


def write_document(
    out: Path,
    name: str,
    parts: Sequence[Part],
    shared: Facts,
    headline: Callable[[], list[dict[str, Any]]],
    folder: str | None = None,
) -> list[Missing]:
    """Write `report.html` and `.md`, and `headline.json`, the table for a terminal.

    Args:
        name: of the page's template, and of the folder of its sections' where none is named.
        parts: those named "top" stand above the list of the others.

    Returns what could not be made; everything else was.
    """
    with failures() as missing:
        rows = attempt("the headline", headline)
        table = [] if isinstance(rows, Missing) else rows
        (out / "headline.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
        for form, sections in written(folder or name, parts, shared).items():
            top = [section for section in sections if section.name == "top"]
            given = {**shared, "top": top, "sections": sections[len(top) :]}
            text = environment().get_template(f"{name}.{form}").render(given)
            (out / f"report.{form}").write_text(text, encoding="utf-8")
    return missing


def written(
    folder: str, parts: Sequence[Part], shared: Facts, forms: Sequence[str] = ("html", "md")
) -> dict[str, list[Written]]:
    """The sections that have something to say, by form.

    Args:
        folder: of the templates, `<folder>/<part's name>.<form>`.
        shared: what every template is given.
    """
    sections: dict[str, list[Written]] = {form: [] for form in forms}
    for part in parts:
        what = f"the section '{part.title}'"
        facts = attempt(what, part.facts)
        for form in forms:
            text: str | Missing = facts if isinstance(facts, Missing) else ""
            if not isinstance(facts, Missing):
                name = f"{folder}/{part.name}.{form}"
                text = attempt(what, partial(_rendered, name, {**shared, **facts}))
            if isinstance(text, Missing):
                given = {"part": part, "missing": text}
                text = _rendered(f"missing.{form}", given)
            if text:
                sections[form].append(Written(part.name, part.title, text))
    return sections


def _rendered(name: str, given: Facts) -> str:
    return environment().get_template(name).render(given).strip()
