"""Group ICD codes: by category, not at all, or by a table that the user names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ConfigError
from tasks.ingest.blocks import read_text
from tasks.ingest.outcomes.codes import CodedRows, category
from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.outcomes.titles import Titles, titles_of


@dataclass(frozen=True)
class Grouped:
    """Code rows with the group in place of the code, the groups' titles, and what was counted."""

    rows: CodedRows
    titles: Titles
    counts: dict[str, int] = field(default_factory=dict)


def grouped(
    rows: CodedRows, titles: pa.Table | None, config: DiagnosesConfig | ProceduresConfig
) -> Grouped:
    """Replace each code by its group; with a table, a code may have several groups or none."""
    match config.grouping:
        case "category" | "full" as grouping:
            codes = titles_of(titles, config.kind, grouping)
            if grouping == "category":
                rows = replace(rows, code=category(rows.code, pa.array(rows.version), config.kind))
            return Grouped(rows, codes)
        case "ccs" | "file":
            assert config.grouping_file is not None, "the config was checked"
            return _by_table(rows, read_groups(config.grouping_file))


def _by_table(rows: CodedRows, groups: pa.Table) -> Grouped:
    """The rows with their codes' groups; those of a code without one are left out and counted."""
    codes = pa.table(
        {
            "admission": pa.array(rows.admission),
            "version": pa.array(rows.version, pa.int64()),
            "code": rows.code,
        }
    )
    shared = groups.filter(pc.equal(groups["version"], 0))
    of_both = [
        shared.set_column(1, "version", pa.repeat(version, len(shared))) for version in (9, 10)
    ]
    groups = pa.concat_tables([groups.filter(pc.not_equal(groups["version"], 0)), *of_both])
    keys = ["code", "version"]
    matches = codes.join(groups, keys, join_type="inner")
    with_a_group = codes.join(groups.select(keys), keys, join_type="left semi")
    titles = {
        (row["version"], row["group"]): row["title"] for row in groups.to_pylist() if row["title"]
    }
    kept = replace(
        rows,
        admission=matches["admission"].to_numpy().astype(np.int64),
        version=matches["version"].to_numpy().astype(np.int64),
        code=matches["group"],
    )
    return Grouped(kept, titles, {"code_rows_without_a_group": len(codes) - len(with_a_group)})


def read_groups(path: Path) -> pa.Table:
    """The table of groups: code, version (0: both), group, title.

    Takes a CSV with the columns code and group (version and title if they are there), HCUP's CCS
    for ICD-9 ('ICD-9-CM CODE', 'CCS CATEGORY') and HCUP's CCSR for ICD-10 ('ICD-10-CM CODE',
    'CCSR CATEGORY 1' to 6), gzipped or not. Raises ConfigError where it is none of them,
    SourceError where it is no CSV.
    """
    try:
        rows = list(_groups(read_text(path)))
    except (ValueError, csv.Error):
        raise ConfigError(
            f"{path} is no readable CSV, or has a version that is no number; correct grouping_file"
        ) from None
    if not rows:
        raise ConfigError(
            f"{path} has no columns code and group, nor HCUP's 'ICD-9-CM CODE' and 'CCS CATEGORY', "
            "nor 'ICD-10-CM CODE' and 'CCSR CATEGORY 1'; correct grouping_file"
        )
    types = {"code": pa.string(), "version": pa.int64(), "group": pa.string(), "title": pa.string()}
    return pa.table(list(zip(*sorted(set(rows)), strict=True)), schema=pa.schema(types))


def _groups(text: str) -> Iterator[tuple[str, int, str, str]]:
    quote = "'" if text.lstrip("\n").find("'ICD-") >= 0 else '"'  # HCUP quotes with apostrophes
    lines = csv.reader(text.splitlines(), quotechar=quote)
    columns: _Columns | None = None
    for line in lines:
        cells = [cell.strip() for cell in line]
        if columns is None:  # HCUP puts a line of remarks before the header
            columns = _columns([cell.lower() for cell in cells])
            continue
        code_at, version, pairs, version_at = columns
        if (
            len(cells) <= max(index for pair in pairs for index in pair if index is not None)
            or not cells[code_at]
        ):
            continue
        code = re.sub(r"[\s.]", "", cells[code_at]).upper()
        code_version = (
            int(cells[version_at]) if version_at is not None and cells[version_at] else version
        )
        for group_at, title_at in pairs:
            if cells[group_at]:
                title = cells[title_at] if title_at is not None else ""
                yield code, code_version, cells[group_at], title


_Columns = tuple[int, int, list[tuple[int, int | None]], int | None]


def _columns(names: list[str]) -> _Columns | None:
    """The indices of code, groups and titles, and the codes' version; None if unknown."""

    def index(name: str) -> int | None:
        return names.index(name) if name in names else None

    if "code" in names and "group" in names:
        return names.index("code"), 0, [(names.index("group"), index("title"))], index("version")
    if "icd-9-cm code" in names and "ccs category" in names:
        pair = names.index("ccs category"), index("ccs category description")
        return names.index("icd-9-cm code"), 9, [pair], None
    if "icd-10-cm code" in names and "ccsr category 1" in names:
        pairs = [
            (names.index(f"ccsr category {number}"), index(f"ccsr category {number} description"))
            for number in range(1, 7)
            if f"ccsr category {number}" in names
        ]
        return names.index("icd-10-cm code"), 10, pairs, None
    return None
