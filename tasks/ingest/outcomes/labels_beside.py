"""An outcome whose labels stand beside the texts, in a table of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import SourceError
from tasks.ingest.outcomes.config import LabelsConfig
from tasks.ingest.outcomes.inputs import Counted, Inputs
from tasks.ingest.outcomes.user_labels import labelled
from tasks.ingest.parquet_reader import END

_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def labels_beside(inputs: Inputs, config: LabelsConfig) -> Counted:
    """The labels of one column of lists, or of one column a label; see LabelsConfig.

    Raises SourceError where a flag is neither 0 nor 1, or, with one_of, a row has not one label.
    """
    table = inputs.tables["labels"]
    if config.flags:
        rows, partly = _of_flags(table, config.flags)
        more = {"rows_with_an_empty_flag": partly}
    else:
        rows, more = _of_lists(table[config.column], "" if config.one_of else config.separator), {}
    lists = pa.array(rows, pa.list_(pa.string()))
    both = pa.table({"hadm_id": table["hadm_id"], "labels": lists})
    outcome, counts = labelled(inputs, config, both, "the table of texts")
    return outcome, counts | more


def _of_lists(column: pa.ChunkedArray, separator: str) -> list[list[str] | None]:
    return [None if text is None else _cut(text, separator) for text in column.to_pylist()]


def _cut(text: str, separator: str) -> list[str]:
    """The labels of a text, each once.

    >>> _cut("flu; cough;flu", ";"), _cut(";", ";"), _cut("A; B", "")
    (['flu', 'cough'], [], ['A; B'])
    """
    between = END if text.endswith(END) else separator
    labels = text.split(between) if between else [text]
    return list(dict.fromkeys(label.strip() for label in labels if label.strip()))


def _of_flags(table: pa.Table, flags: Sequence[str]) -> tuple[list[list[str] | None], int]:
    """The flags that are 1 in each row, None where one is empty; and how many rows have some empty.

    A row without any flag is merely not labelled, and not counted.
    """
    columns = [_flag(table[name], name).to_pylist() for name in flags]
    rows: list[list[str] | None] = []
    partly = 0
    for row in zip(*columns, strict=True):
        if None in row:
            rows.append(None)
            partly += any(flag is not None for flag in row)
        else:
            rows.append([name for name, flag in zip(flags, row, strict=True) if flag])
    return rows, partly


def _flag(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    row = pc.index_in(words, pa.array(list(_FLAGS)))
    if wrong := pc.sum(pc.and_(words.is_valid(), row.is_null())).as_py():
        raise SourceError(
            f"the column {name} has {wrong} values that are neither 0 nor 1; correct it, or name "
            "it as 'column' if it holds words"
        )
    return pc.take(pa.array(list(_FLAGS.values())), row)
