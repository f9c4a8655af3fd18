"""A page in parts: each is made and rendered by itself, in every form, and fails by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.report.missing import Missing, attempt

if TYPE_CHECKING:
    from jinja2 import Environment

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


def written(
    environment: Environment,
    folder: str,
    parts: Sequence[Part],
    shared: Facts,
    forms: Sequence[str] = ("html", "md"),
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
                text = attempt(what, partial(_rendered, environment, name, {**shared, **facts}))
            if isinstance(text, Missing):
                given = {"part": part, "missing": text}
                text = _rendered(environment, f"missing.{form}", given)
            if text:
                sections[form].append(Written(part.name, part.title, text))
    return sections


def _rendered(environment: Environment, name: str, given: Facts) -> str:
    return environment.get_template(name).render(given).strip()
