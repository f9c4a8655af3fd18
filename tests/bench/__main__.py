"""`make bench`: measure beside a peer in the same run, print a table, write build/bench/NAME.json.

A bench is a module of this folder with `rows() -> list[dict]`; a row holds what, unit, ours, peer,
peer_name, ratio (above 1: ours is better), goal, peak_mib.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


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
        Console().print(table_of(name, rows))


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    """The rows as a table that can be read at 80 columns: numbers whole, words wrapped."""
    table = Table(title=name, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=True)
    table.add_column("what", ratio=2, min_width=16)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("peer", justify="right", no_wrap=True)
    table.add_column("", ratio=1, min_width=10)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("goal", justify="right", max_width=8)
    table.add_column("MiB", justify="right", no_wrap=True)
    for row in rows:
        unit = f" {row['unit']}" if row.get("unit") and len(row["unit"]) <= 5 else ""
        what = row["what"] if unit else f"{row['what']}, {row.get('unit')}"
        table.add_row(
            escape(what),
            _cell(row.get("ours"), unit),
            _cell(row.get("peer"), unit),
            escape(row.get("peer_name") or ""),
            _cell(row.get("ratio")),
            _cell(row.get("goal")),
            _cell(row.get("peak_mib")),
        )
    return table


def _cell(value: object, unit: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}") + unit
    return escape(str(value)) + unit


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name])
