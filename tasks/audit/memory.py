"""What the memory audit leaves: a table, a page, and a table for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks import schemas, tables
from tasks.audit.memory_page import overview, report
from tasks.audit.remembered import Memory
from tasks.measures.intervals import Interval


def write_memory(out: Path, memory: Memory, training: Mapping[str, Any]) -> dict[str, Any]:
    """Write the table, `memory.md` and `overview.json`; no text of any note.

    Args:
        training: what the audited adapter was trained on, for the page.
    """
    table = pa.Table.from_pylist(_rows(memory), schemas.MEMORY)
    tables.write(out / "memory" / "part-0.parquet", schemas.MEMORY, table)
    (out / "memory.md").write_text(report(memory, training), encoding="utf-8")
    (out / "overview.json").write_text(json.dumps(overview(memory), indent=1), encoding="utf-8")
    exposed, told = memory.remembers
    return {"canaries_exposed": str(exposed), "members_told": str(told)}


def _rows(memory: Memory) -> list[dict[str, Any]]:
    rows = [
        {
            "measure": f"exposure, {who}",
            "repeats": exposure.repeats,
            "n": exposure.canaries,
            **_ends(value),
        }
        for exposure in memory.exposures
        for who, value in (("base", exposure.before), ("adapter", exposure.after))
    ]
    rows += [
        {
            "measure": f"membership by {membership.by}",
            "repeats": None,
            "n": membership.members + membership.others,
            **_ends(membership.auroc),
        }
        for membership in memory.memberships
    ]
    return rows


def _ends(value: Interval) -> dict[str, float | None]:
    ends = {"value": value.value, "low": value.low, "high": value.high}
    return {name: None if math.isnan(end) else end for name, end in ends.items()}
