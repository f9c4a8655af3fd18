"""What a label's title says, without the words that coders put around it."""

from __future__ import annotations

import re

# they tell a code from its neighbors in a book, and say nothing of the patient
_BOOKISH = re.compile(
    r"\([^()]*\)|\[[^][]*\]"
    r"|\b(other|unspecified|not elsewhere classified|not otherwise specified|nec|nos)\b",
    re.IGNORECASE,
)
_LOOSE_COMMAS = re.compile(r"(\s*,)+\s*(?=,|$)|^\s*(,\s*)+")


def cleaned(title: str) -> str:
    """The title without brackets, "other", "unspecified" and the like; as it is where none is left.

    >>> cleaned("Other and unspecified hyperlipidemia"), cleaned("Gout, unspecified")
    ('and hyperlipidemia', 'Gout')
    >>> cleaned("Other")
    'Other'
    """
    bare = " ".join(_LOOSE_COMMAS.sub(" ", _BOOKISH.sub(" ", title)).split())
    return bare if any(character.isalnum() for character in bare) else title
