"""Find the columns of a schema in a header, whatever their case, order and other names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa


def missing_columns(
    header: Sequence[str],
    schema: pa.Schema,
    aliases: Mapping[str, Sequence[str]],
    needed: Collection[str] = (),
) -> list[str]:
    """The columns that a header lacks; one that may be null may lack unless it is needed.

    >>> missing_columns(["x"], pa.schema([pa.field("id", pa.int64(), nullable=False)]), {})
    ['id']
    """
    return [
        each.name
        for each in schema
        if (not each.nullable or each.name in needed) and not places_of(each.name, header, aliases)
    ]


def or_header(header: Sequence[str]) -> str:
    """What else may be missing where a column is: no column is called by a number."""
    return " or a header line" if any(name.isdigit() for name in header) else ""


def places_of(name: str, header: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> list[int]:
    """Where a column stands in a header, by the first of its names that is there, case aside.

    >>> places_of("race", ["ID", "Ethnicity"], {"race": ["ethnicity"]})
    [1]
    """
    folded = [column.casefold() for column in header]
    for known in (name, *aliases.get(name, ())):
        if known in folded:
            return [place for place, column in enumerate(folded) if column == known]
    return []
