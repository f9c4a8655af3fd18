"""A table of the user's own, of one text a row, in the columns of MIMIC-IV's tables.

A row is a note and an admission, and its patient a patient: one file is read as each of them. Of
the admission nothing is known but when the text was written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.demands import Rule
from tasks.ingest.identifiers import numbered
from tasks.ingest.layout import AS_READ, Layout, columns, filled
from tasks.ingest.source_config import TableColumns
from tasks.ingest.split_files import WORDS, is_no_split, splits_of
from tasks.schemas import DATE_TIME

_FILE = ("table",)  # there is one


def layouts(named: TableColumns, asked: Collection[str] = ()) -> Mapping[str, Layout]:
    """The tables that the file is read as, by name.

    Args:
        named: what its columns are called.
        asked: the columns that an outcome reads, beside those of every source.
    """
    table = _Table(named)
    made = (
        table.notes(),
        table.admissions(),
        table.patients(),
        table.deaths(),
        table.years(),
        table.splits(),
        table.labels(asked),
    )
    return {layout.name: layout for layout in made}


class _Table:
    """The layouts of a table with columns of those names."""

    def __init__(self, named: TableColumns) -> None:
        self.named = named
        self.patient = named.patient or named.id
        self.time = (named.time,) if named.time else ()

    def notes(self) -> Layout:
        def given(table: pa.Table) -> dict[str, pa.ChunkedArray]:
            return {
                "note_id": table[self.named.id],
                **self._ids(table),
                "note_type": pa.repeat("DS", table.num_rows),
                "charttime": self._times(table),
                "text": table[self.named.text],
            }

        texts = {self.named.text: pa.large_string()}
        unknown = ("storetime", *(() if self.time else ("charttime",)))
        return self._layout("discharge", given, texts, unique=True, unknown=unknown)

    def admissions(self) -> Layout:
        def given(table: pa.Table) -> dict[str, pa.ChunkedArray]:
            return self._ids(table) | {"admittime": self._times(table)}

        known = {"subject_id", "hadm_id", *(("admittime",) if self.time else ())}
        unknown = [name for name in AS_READ["admissions"].names if name not in known]
        return self._layout("admissions", given, unique=True, unknown=unknown)

    def patients(self) -> Layout:
        return self._layout("patients", self._subjects, unknown=("gender", "born"))

    def deaths(self) -> Layout:
        return self._layout("deaths", self._subjects, unknown=("dod",), has_file=False)

    def years(self) -> Layout:
        """The year of each row as its patient's group of years."""

        def given(table: pa.Table) -> dict[str, pa.ChunkedArray]:
            years = pc.cast(pc.year(self._times(table)), pa.string())
            return self._subjects(table) | {"anchor_year_group": years}

        return self._layout("anchor_years", given, has_file=bool(self.time))

    def splits(self) -> Layout:
        name = self.named.split
        if name is None:
            return self._layout("row_splits", self._subjects, has_file=False)

        def given(table: pa.Table) -> dict[str, pa.ChunkedArray]:
            return self._subjects(table) | {"split": pa.array(splits_of(table[name]), pa.string())}

        rule = Rule(name, f"is none of {WORDS}", lambda table: is_no_split(table[name]))
        return self._layout("row_splits", given, {name: pa.string()}, rules=(rule,))

    def labels(self, asked: Collection[str]) -> Layout:
        """The columns of an outcome as they are, beside the hadm_id."""

        def shape(table: pa.Table) -> pa.Table:
            numbers = numbered(table[self.named.id])
            return table.select(list(asked)).add_column(0, "hadm_id", numbers)

        texts = [name for name in asked if name != self.named.id]
        schema = columns({self.named.id: pa.string()}, dict.fromkeys(texts, pa.string()))
        return Layout(
            "labels", _FILE, schema, present=tuple(asked), unique=self.named.id, shape=shape
        )

    def _layout(
        self,
        name: str,
        given: Callable[[pa.Table], dict[str, pa.ChunkedArray]],
        more: Mapping[str, pa.DataType] = {},
        *,
        unique: bool = False,
        unknown: Collection[str] = (),
        rules: tuple[Rule, ...] = (),
        has_file: bool = True,
    ) -> Layout:
        """A table made of the ids, the time, and `more` columns."""

        def shape(table: pa.Table) -> pa.Table:
            return filled(name, table.num_rows, given(table))

        required = {self.named.id: pa.string(), self.patient: pa.string(), **more}
        return Layout(
            name,
            _FILE if has_file else (),
            columns(required, dict.fromkeys(self.time, DATE_TIME)),
            present=self.time,
            unknown=tuple(unknown),
            unique=self.named.id if unique else None,
            rules=rules,
            shape=shape,
        )

    def _subjects(self, table: pa.Table) -> dict[str, pa.ChunkedArray]:
        return {"subject_id": numbered(table[self.patient])}

    def _ids(self, table: pa.Table) -> dict[str, pa.ChunkedArray]:
        return self._subjects(table) | {"hadm_id": numbered(table[self.named.id])}

    def _times(self, table: pa.Table) -> pa.ChunkedArray:
        if self.named.time:
            return table[self.named.time]
        return pa.chunked_array([pa.nulls(table.num_rows, DATE_TIME)])
