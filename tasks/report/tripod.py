"""The TRIPOD+AI checklist (Collins et al., BMJ 2024;385:e078378), filled from what a run knows.

The 52 items are in `templates/tripod-ai.yaml`, each with a template of what the artifacts say and
one of what they leave to the authors. What is empty decides: both: the item is filled; nothing
said: it is open; else partly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from tasks.report.missing import Missing, attempt
from tasks.report.printing import environment

if TYPE_CHECKING:
    from jinja2 import Template

ITEMS = Path(__file__).parent / "templates" / "tripod-ai.yaml"
State = Literal["filled", "partly", "open"]


@dataclass(frozen=True)
class Item:
    """One item of the checklist, answered as far as the run can."""

    number: str
    section: str
    topic: str
    applies: str  # D: to development, E: to evaluation, D;E: to both
    asks: str
    says: str  # empty: the artifacts do not know
    where: str
    left: str  # empty: nothing is left to the authors

    @property
    def state(self) -> State:
        if not self.says:
            return "open"
        return "partly" if self.left else "filled"


def checklist(facts: Mapping[str, Any]) -> list[Item]:
    """Every item in the order of the statement, its templates filled with the facts."""

    def filled(text: str) -> str:
        return " ".join(_template(text).render(facts).split())

    def answered(given: Mapping[str, str]) -> tuple[str, str]:
        return filled(given.get("says", "")), filled(given.get("left", ""))

    items = []
    for given in _questions():
        answer = attempt(f"item {given['item']}", partial(answered, given))
        says, left = ("", f"{answer}.") if isinstance(answer, Missing) else answer
        kept = {name: given[name] for name in ("section", "topic", "applies", "asks")}
        number, where = str(given["item"]), given.get("where", "")
        items.append(Item(number=number, says=says, left=left, where=where, **kept))
    return items


@cache
def _questions() -> list[dict[str, Any]]:
    return yaml.safe_load(ITEMS.read_text(encoding="utf-8"))


@cache
def _template(text: str) -> Template:
    return environment().from_string(text)
