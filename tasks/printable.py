"""Text from files, made safe to print: a terminal obeys control characters."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    r"""The text on one line; what a terminal would obey, or cannot print, is escaped as in JSON.

    >>> print(printable("AUROC \x1b[2J\u202e é\n"))
    AUROC \u001b[2J\u202e é\n
    """
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )
