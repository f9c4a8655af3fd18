"""What the parts of the coverage bench share: how many samples, a row, a table of 80 columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

REPLICATES = int(os.environ.get("REPLICATES", "2000"))


def coverage_row(what: str, ours: float, peer: float, peer_name: str) -> dict[str, Any]:
    """The ratio is of distances to 95%; within a Monte Carlo error nothing is nearer."""
    error = float(np.sqrt(0.95 * 0.05 / REPLICATES))
    return {
        "what": what,
        "unit": f"%, ± {100 * error:.2f}",
        "ours": 100 * ours,
        "peer": 100 * peer,
        "peer_name": peer_name,
        "ratio": max(abs(peer - 0.95), error) / max(abs(ours - 0.95), error),
        "goal": "93 to 97",
    }


def table_of(title: str, columns: Sequence[str]) -> Table:
    """An empty table, the first column to the left, the others to the right."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left")
    return table


def print_table(table: Table) -> None:
    """Print it at the width of the terminal."""
    Console().print(table)


def percent(share: float) -> str:
    """A share, to a tenth of a percent."""
    return f"{100 * share:.1f}%"
