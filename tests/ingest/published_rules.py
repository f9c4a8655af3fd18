"""The two published section rules, written from their description and not from their code.

Both take a section for the text between its name and the next empty line that words and a colon
follow, the first match alone. `core_rule` is CORE's for MIMIC-III; `port_rule` is its port to
MIMIC-IV, which takes a line of blanks for an empty one and ends the social history at "Family
History:". Of what their description leaves open the better reading is taken: the name is a
substring that a colon follows, possibly after more letters (`Physical Examination:`).
"""

from __future__ import annotations

import re

_NAMES = {
    "CHIEF COMPLAINT": "chief complaint",
    "PRESENT ILLNESS": "present illness",
    "MEDICAL HISTORY": "medical history",
    "MEDICATION ON ADMISSION": "medications on admission",
    "ALLERGIES": "allergies",
    "PHYSICAL EXAM": "physical exam",
    "FAMILY HISTORY": "family history",
    "SOCIAL HISTORY": "social history",
}
_WORDS_AND_COLON = r"[^\n:\d.(|\\]+:"


def _patterns(empty_line: str, also_ends: dict[str, str]) -> dict[str, re.Pattern[str]]:
    return {
        section: re.compile(
            rf"{name}[a-z]*:(.*?)(?={empty_line}[ \t]*{_WORDS_AND_COLON}"
            rf"{also_ends.get(section, '')}|\Z)",
            re.IGNORECASE | re.DOTALL,
        )
        for section, name in _NAMES.items()
    }


_CORE = _patterns(r"\n\n\n*", {})
_PORT = _patterns(r"\n[ \t]*\n\s*", {"SOCIAL HISTORY": r"|\n[ \t]*family history:"})


def core_rule(text: str) -> dict[str, str]:
    """The eight sections by the rule for MIMIC-III."""
    return _found(_CORE, text)


def port_rule(text: str) -> dict[str, str]:
    """The eight sections by the rule for MIMIC-IV."""
    return _found(_PORT, text)


def _found(patterns: dict[str, re.Pattern[str]], text: str) -> dict[str, str]:
    matches = {section: pattern.search(text) for section, pattern in patterns.items()}
    bodies = {section: " ".join(match[1].split()) for section, match in matches.items() if match}
    return {section: body for section, body in bodies.items() if body}
