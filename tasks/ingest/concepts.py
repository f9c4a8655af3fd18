"""OMOP's CONCEPT table: which concepts are ICD codes, of which version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks.errors import SourceError
from tasks.ingest.outcomes.codes import Kind
from tasks.ingest.parquet_reader import is_parquet

VOCABULARIES: Mapping[Kind, Mapping[str, int]] = {
    "diagnoses": {"ICD9CM": 9, "ICD10CM": 10, "ICD10": 10},
    "procedures": {"ICD9Proc": 9, "ICD10PCS": 10},
}
_COLUMNS = {"concept_id": pa.int64(), "vocabulary_id": pa.string(), "concept_code": pa.string()}
_SNIFFED_BYTES = 1 << 12
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Concepts:
    """The ICD codes of one kind; all arrays are [codes]."""

    ids: pa.ChunkedArray
    codes: pa.ChunkedArray
    versions: pa.ChunkedArray

    @classmethod
    def read(cls, path: Path, kind: Kind) -> Concepts:
        """From CONCEPT as CSV or Parquet, or as Athena gives it: with tabs, and without quotes.

        Raises SourceError where it cannot be read. It is a vocabulary: it holds no patient.
        """
        versions = VOCABULARIES[kind]
        try:
            batches = [_of(batch, versions) for batch in _batches(path)]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise SourceError(
                f"{path.name} cannot be read as OMOP's CONCEPT ({type(error).__name__}): it needs "
                f"the columns {', '.join(_COLUMNS)}; fetch it again, or set "
                "ingest.source.icd_version and take it away"
            ) from None
        schema = pa.schema(_COLUMNS)
        table = pa.concat_tables([schema.empty_table(), *batches])
        known = pa.array(list(versions)), pa.array(list(versions.values()), pa.int32())
        row = pc.index_in(table["vocabulary_id"], known[0])
        version = pc.take(known[1], row)
        return cls(table["concept_id"], table["concept_code"], version)


def _of(batch: pa.RecordBatch, versions: Mapping[str, int]) -> pa.Table:
    named = {
        name.casefold(): column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    table = pa.table({name: named[name].cast(kind) for name, kind in _COLUMNS.items()})
    return table.filter(pc.is_in(table["vocabulary_id"], pa.array(list(versions))))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if is_parquet(path):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()
        return
    with pa.input_stream(str(path)) as file:
        header = file.read(_SNIFFED_BYTES).partition(b"\n")[0]
    tabs = header.count(b"\t") > header.count(b",")
    parse = pacsv.ParseOptions(delimiter="\t" if tabs else ",", quote_char=False if tabs else '"')
    names = (
        header.decode("utf-8-sig", "replace").replace('"', "").strip().split("\t" if tabs else ",")
    )
    kinds = {name: _COLUMNS[name.casefold()] for name in names if name.casefold() in _COLUMNS}
    convert = pacsv.ConvertOptions(column_types=kinds, include_columns=list(kinds))
    read = pacsv.ReadOptions(block_size=_BLOCK_BYTES)
    yield from pacsv.open_csv(str(path), read, parse, convert)
