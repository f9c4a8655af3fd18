"""`make bench`: measure beside a peer in the same run, print a table, write build/bench/NAME.json.

A bench is a module of this folder with `rows() -> list[dict]`; a row holds what, unit, ours, peer,
peer_name, ratio (above 1: ours is better), goal, peak_mib.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

NUMBERS = ("ours", "peer", "ratio", "goal")


def main(names: list[str]) -> None:
    """Run the named benches, or all."""
    here = Path(__file__).parent
    known = sorted(path.stem for path in here.glob("[!_]*.py"))
    if unknown := set(names) - set(known):
        sys.exit(f"no bench '{unknown.pop()}'; there are: {', '.join(known)}")
    for name in names or known:
        rows = importlib.import_module(f"tests.bench.{name}").rows()
        folder = Path("build/bench")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=1))
        Console().print(_table(name, rows))


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """What was measured, in lines as long as the terminal has room for, and the numbers beside."""
    table = Table("what", title=name, show_lines=True)
    for column in NUMBERS:
        table.add_column(column, justify="right")
    for row in rows:
        words = f"{row['what']} ({row['unit']})"
        if row.get("peer_name"):
            words += f"; peer: {row['peer_name']}"
        if row.get("peak_mib"):
            words += f"; peak {row['peak_mib']} MiB"
        table.add_row(Text(words), *(_cell(row.get(column)) for column in NUMBERS))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name])
