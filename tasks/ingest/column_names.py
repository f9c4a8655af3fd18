"""Find the columns of a schema in a header, whatever their case, order and aliases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from tasks.errors import SourceError


def missing_columns(
    header: Sequence[str],
    schema: pa.Schema,
    aliases: Mapping[str, Sequence[str]],
    needed: Collection[str] = (),
) -> list[str]:
    """The columns that a header lacks; one that may be null may be absent unless it is needed.

    >>> missing_columns(["x"], pa.schema([pa.field("id", pa.int64(), nullable=False)]), {})
    ['id']
    """
    return [
        field.name
        for field in schema
        if (not field.nullable or field.name in needed)
        and not indices_of(field.name, header, aliases)
    ]


def or_header(header: Sequence[str]) -> str:
    """What else may be missing where a column is: a column's name is never a number."""
    return " or a header line" if any(name.isdigit() for name in header) else ""


def indices_of(name: str, header: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> list[int]:
    """The indices of a column in a header, by the first of its names that is there, case aside.

    >>> indices_of("race", ["ID", "Ethnicity"], {"race": ["ethnicity"]})
    [1]
    """
    folded = [column.casefold() for column in header]
    for known in (name, *aliases.get(name, ())):
        if known.casefold() in folded:
            return [index for index, column in enumerate(folded) if column == known.casefold()]
    return []


def located(
    file: str, header: Sequence[str], schema: pa.Schema, aliases: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """The index in a header of each of the schema's columns that it has.

    Raises SourceError where a column that must have values is missing, or one is there twice.
    """
    if missing := missing_columns(header, schema, aliases):
        raise SourceError(
            f"{file} lacks the column {missing[0]}{or_header(header)}; correct its header line"
        )
    places = {}
    for name in schema.names:
        indices = indices_of(name, header, aliases)
        if len(indices) > 1:
            raise SourceError(f"{file} has more than one column {name}; correct its header line")
        if indices:
            places[name] = indices[0]
    return places
