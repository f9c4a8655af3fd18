"""Writes discharge notes in the layouts of MIMIC-III and IV, with what each section holds.

The headings come from `headings.yaml`: of the development's two thirds, of the third that is held
out for the measurement, or the template's own alone (the first of each list).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml

from tests.ingest import prose

Part = Literal["template", "development", "held out"]
Style = Literal["MIMIC-IV", "MIMIC-III", "free"]

_HELD_OUT_EVERY = 3
_EARLY = (
    *("CHIEF COMPLAINT", "PROCEDURE", "PRESENT ILLNESS", "MEDICAL HISTORY"),
    *("SOCIAL HISTORY", "FAMILY HISTORY", "PHYSICAL EXAM", "PERTINENT RESULTS"),
)
_LATE = (
    *("DISCHARGE MEDICATIONS", "DISCHARGE DISPOSITION", "DISCHARGE DIAGNOSIS"),
    *("DISCHARGE CONDITION", "DISCHARGE INSTRUCTIONS", "FOLLOWUP"),
)
_ORDER: dict[Style, tuple[str, ...]] = {
    "MIMIC-IV": ("ALLERGIES", *_EARLY, "HOSPITAL COURSE", "MEDICATION ON ADMISSION", *_LATE),
    "MIMIC-III": (
        *("CHIEF COMPLAINT", "PRESENT ILLNESS", "MEDICAL HISTORY", "MEDICATION ON ADMISSION"),
        *("ALLERGIES", "SOCIAL HISTORY", "FAMILY HISTORY", "PHYSICAL EXAM"),
        *("PERTINENT RESULTS", "HOSPITAL COURSE", *_LATE),
    ),
    "free": (*_EARLY, "HOSPITAL COURSE", "MEDICATION ON ADMISSION", *_LATE),
}


@dataclass(frozen=True)
class Note:
    """A note and, in its order, the words that stand under each of the eight sections."""

    text: str
    held: dict[str, str]  # the eight sections' bodies, white space collapsed


def write_note(part: Part, draw: Random) -> Note:
    """Write one note with headings of the given part."""
    style: Style = "MIMIC-IV"
    if part != "template":
        style = draw.choice(("MIMIC-IV", "MIMIC-III", "free"))
    return _Writer(headings(part), part, style, draw).write()


@cache
def headings(part: Part) -> dict[str, Any]:
    """The frozen list, cut down to one part."""
    listed = yaml.safe_load((Path(__file__).parent / "headings.yaml").read_text())
    return _cut(listed, part)


def _cut(listed: Any, part: Part) -> Any:
    if isinstance(listed, dict):
        return {name: _cut(below, part) for name, below in listed.items()}
    if part == "template":
        return listed[:1]
    return [
        words
        for index, words in enumerate(listed, 1)
        if (index % _HELD_OUT_EVERY == 0) == (part == "held out")
    ]


@dataclass
class _Writer:
    words: dict[str, Any]
    part: Part
    style: Style
    draw: Random
    pieces: list[str] = field(default_factory=list)
    held: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw, free = self.draw, self.style == "free"
        self.between = {"MIMIC-IV": "\n \n", "MIMIC-III": "\n\n"}.get(
            self.style, draw.choice(("\n", "\n\n", "\n \n", "\n  \n\n"))
        )
        cases = [str, str.upper, str.title, str.lower] if self.part != "template" else [str]
        self.case = str.upper if self.style == "MIMIC-III" else draw.choice(cases)
        # A mark before the headings belongs to a note in which empty lines part the sections
        marked = free and self.between != "\n"
        self.mark = draw.choice(("", "", "", "# ", "#", "- ", "* ", "  ")) if marked else ""
        colons = (":", ":", ": ", ":   ", " :")
        self.colon = draw.choice(colons) if self.part != "template" else ":"
        # MIMIC-III's transcriptions go on beside the heading; in the others a colon may be missing
        self.beside = self.style == "MIMIC-III" or (free and draw.random() < 0.4)
        if marked and not self.beside and draw.random() < 0.2:
            self.case, self.colon = str.upper, ""

    def write(self) -> Note:
        present = [name for name in self._order() if self.draw.random() > 0.07 or name in _LATE]
        self.pieces.append(prose.header(self.style, self.draw))
        for name in present:
            if name == "PHYSICAL EXAM":
                self._exam()
            elif name in self.words["sections"]:
                self._section(name, self.words["sections"][name], self._body(name))
            else:
                words = self.words["others"].get(name, ())
                self._other(name, words)
            if name == "MEDICAL HISTORY" and self.part != "template" and self.draw.random() < 0.3:
                self._section(name, self.words["surgical"], prose.lines(self.draw, 2))
        text = "".join(self.pieces)
        if self.style == "MIMIC-III":
            text = prose.with_placeholders(text)
        held = {name: " ".join(" ".join(bodies).split()) for name, bodies in self.held.items()}
        if self.style == "MIMIC-III":
            held = {name: prose.with_placeholders(body) for name, body in held.items()}
        return Note(text + "\n", {name: body for name, body in held.items() if body})

    def _order(self) -> list[str]:
        order = list(_ORDER[self.style])
        if self.style != "free":
            return order
        early = [name for name in _EARLY if name not in ("PRESENT ILLNESS", "PERTINENT RESULTS")]
        early.append("ALLERGIES")
        if self.draw.random() < 0.6:
            early.append("MEDICATION ON ADMISSION")
            order.remove("MEDICATION ON ADMISSION")
        self.draw.shuffle(early)
        # The illness comes first or follows the complaint; the results follow the rest
        index = early.index("CHIEF COMPLAINT") + 1 if self.draw.random() < 0.7 else 0
        early.insert(index, "PRESENT ILLNESS")
        later = [name for name in order if name not in _EARLY]
        return [*early, "PERTINENT RESULTS", *later]

    def _section(self, name: str, words: list[str], body: str) -> None:
        self._heading(name, self.draw.choice(words), self.between)
        self.pieces.append(body)
        self.held.setdefault(name, []).append(body)

    def _other(self, name: str, words: list[str]) -> None:
        if name == "DISCHARGE MEDICATIONS" or self.draw.random() > 0.05:
            self._heading(name, self.draw.choice(words), self.between)
            self.pieces.append(self._body(name))

    def _heading(self, name: str, words: str, between: str) -> None:
        if self.style == "MIMIC-IV" and name == "FAMILY HISTORY":
            between = "\n"  # the template's trap: no empty line after the social history
        elif self.style == "MIMIC-IV" and name == "MEDICAL HISTORY":
            between += self.draw.choice(("", " \n"))
        below = " " if self.beside and self.colon else "\n"
        self.pieces.append(f"{between}{self.mark}{self.case(words)}{self.colon}{below}")

    def _exam(self) -> None:
        """The exam, half the time with one of the discharge in it, now and then before it."""
        name, plain = "PHYSICAL EXAM", self.part == "template"
        self._heading(name, self.draw.choice(self.words["sections"][name]), self.between)
        chance = self.draw.random()
        if chance < 0.4:
            self._nested("at_admission", held=True, between="")
            self._nested("at_discharge", held=False, between=self._gap())
        elif chance < 0.7 or plain:
            self._held_exam()
            self._nested("at_discharge", held=False, between=self._gap())
        elif chance < 0.8:
            self._nested("at_discharge", held=False, between="\n")
            self._nested("at_admission", held=True, between=self._gap())
        else:
            self._held_exam()

    def _nested(self, of: str, held: bool, between: str) -> None:
        words = self.draw.choice(self.words[of])
        words = words if self.part == "template" else self.draw.choice((str, str.upper))(words)
        colon = ":" if self.draw.random() < 0.8 or not words.isupper() else ""
        rule = self.draw.choice(("\n", "\n", "\n======\n", "\n-----------\n"))
        if self.beside and not between and not held:
            rule = "\n"
        if not between and self.beside:
            between = "\n"  # a subheading stands at a line's beginning
        self.pieces.append(f"{between}{words}{colon}{rule}")
        if held:
            self._held_exam()
        else:
            self.pieces.append(self._body("PHYSICAL EXAM"))

    def _held_exam(self) -> None:
        body = self._body("PHYSICAL EXAM")
        self.pieces.append(body)
        self.held.setdefault("PHYSICAL EXAM", []).append(body)

    def _gap(self) -> str:
        return self.draw.choice(("\n", "\n \n", "\n\n"))

    def _body(self, name: str) -> str:
        """The section's words, with lines in it that only look like headings."""
        body = prose.BODIES[name](self.draw)
        if isinstance(body, str):
            return body
        inside = list(self.words["inside"].get(name, ()))
        self.draw.shuffle(inside)
        lines: list[str] = []
        for index, paragraph in enumerate(body):
            if index and inside and self.draw.random() < 0.7:
                paragraph = self._led(name, inside.pop(), paragraph)
            width = self.draw.choice((72, 78, 10_000))
            lines.append("\n".join(textwrap.wrap(paragraph, width, break_on_hyphens=False)))
        gap = "\n" if name in prose.LINES else self.draw.choice(("\n\n", "\n \n", "\n"))
        return gap.join(lines)

    def _led(self, name: str, words: str, paragraph: str) -> str:
        # An issue's heading; medications stand in the course under no other, and under another
        # mark than the note's headings, as nothing else would tell them from the section after it
        if name == "HOSPITAL COURSE" and ("edication" in words or self.draw.random() < 0.5):
            return f"{'*' if '#' in self.mark else '#'} {words}: {paragraph}"
        words = words.upper() if name == "PHYSICAL EXAM" and self.draw.random() < 0.3 else words
        return f"{words}: {paragraph}"
