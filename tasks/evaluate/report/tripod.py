"""The TRIPOD+AI checklist (Collins et al., BMJ 2024;385:e078378), filled from what a run knows.

The 52 items are in `templates/tripod-ai.yaml`, each with a template of what the artifacts say and
one of what they leave to the authors. What is empty decides: both: the item is filled; nothing
said: it is open; else partly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:
    from jinja2 import Environment

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


def checklist(environment: Environment, facts: Mapping[str, Any]) -> list[Item]:
    """Every item in the order of the statement, its templates filled with the facts."""

    def filled(text: str) -> str:
        return " ".join(environment.from_string(text).render(facts).split())

    return [
        Item(
            number=str(given["item"]),
            section=given["section"],
            topic=given["topic"],
            applies=given["applies"],
            asks=given["asks"],
            says=filled(given.get("says", "")),
            where=given.get("where", ""),
            left=filled(given.get("left", "")),
        )
        for given in yaml.safe_load(ITEMS.read_text(encoding="utf-8"))
    ]
