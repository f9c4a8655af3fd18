"""A corpus: notes or plain text as sequences of tokens in one shuffled Parquet table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.encoder import Encoder
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import SourceError
from tasks.pretrain.packing import NO_PATIENT, PADDING, Packed, chunks, pack
from tasks.pretrain.unshuffled import Unshuffled
from tasks.sampling import keyed_numbers

TABLE = "sequences"
_DOCUMENTS_AT_ONCE = 512
_SEQUENCES_AT_ONCE = 1024


def of_notes(
    notes: Sequence[Path], subject_ids: NDArray[np.int64] | None, dropped: pa.Array | None = None
) -> Iterator[tuple[int, str]]:
    """The (subject_id, text) of every note of those patients, in the tables' order.

    Args:
        notes: `notes` artifacts.
        subject_ids: the patients wanted, [patients]; None: all.
        dropped: the note_ids that are left out.
    """
    for folder in notes:
        yield from of_table(folder / "notes", subject_ids, dropped)


def of_table(
    table: Path, subject_ids: NDArray[np.int64] | None, dropped: pa.Array | None
) -> Iterator[tuple[int, str]]:
    """The same of one table, or a part of one."""
    columns = ["note_id", "subject_id", "text"]
    for batch in tables.stream(table, schemas.NOTES, columns, _DOCUMENTS_AT_ONCE):
        kept = batch
        if subject_ids is not None:
            kept = kept.filter(pc.is_in(kept["subject_id"], pa.array(subject_ids)))
        if dropped is not None:
            kept = kept.filter(pc.invert(pc.is_in(kept["note_id"], dropped)))
        yield from zip(kept["subject_id"].to_pylist(), kept["text"].to_pylist(), strict=True)


def dropped_by(guard: Path | None, release: str) -> pa.Array | None:
    """The note_ids of a release that a guard keeps out of pretraining; none without a guard."""
    if guard is None:
        return None
    dropped = tables.read(guard / "dropped", schemas.GUARD_DROPPED)
    return dropped.filter(pc.equal(dropped["release"], release))["note_id"].combine_chunks()


def of_texts(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The documents of a text that is of no patient."""
    return ((NO_PATIENT, text) for text in texts)


def patients_of(splits: Path, split: str, at_most: int | None = None) -> NDArray[np.int64]:
    """The subject_ids of a split: all, or those `at_most` whose hashes are lowest."""
    table = tables.read(splits / "splits", schemas.SPLITS)
    subject_ids = table.filter(pc.equal(table["split"], split))["subject_id"].to_numpy()
    if at_most is None or len(subject_ids) <= at_most:
        return np.sort(subject_ids)
    return np.sort(subject_ids[np.argsort(keyed_numbers(subject_ids), kind="stable")[:at_most]])


@dataclass
class CorpusWriter:
    """Tokenize documents and pack them into `out/sequences`, shuffled once with the seed.

    Not packed, for an encoder, a sequence holds a chunk of one document. Shards may be packed by
    several processes: what each holds is fixed, and so are the corpus's bytes.
    """

    out: Path
    tokenizer: LoadedTokenizer
    sequence_length: int
    seed: int | None  # None: not shuffled
    overlap: int = 0
    packed: bool = True

    def write(self, documents: Iterable[tuple[int, str]]) -> dict[str, int]:
        """Write the corpus of one shard; return its counts. Raises as `join`."""
        return self.join([self.pack(documents, 0)])

    def pack(self, documents: Iterable[tuple[int, str]], shard: int) -> dict[str, int]:
        """Pack the documents of a shard into files for `join`; return their counts."""
        counts = {"documents": 0, "tokens": 0}
        self._unshuffled().write(self._sequences(documents, counts), shard)
        return counts

    def join(self, shards: Sequence[Mapping[str, int]]) -> dict[str, int]:
        """Write the corpus of all shards; return its counts.

        Args:
            shards: what `pack` returned of each.

        Raises SourceError where there is no document.
        """
        schema = schemas.corpus(self.sequence_length, self.tokenizer.size)
        unshuffled = self._unshuffled()
        unshuffled.open(len(shards))
        if not len(unshuffled):
            raise SourceError("there is no document to pack; check the notes and the splits")
        batches = self._batches(unshuffled, schema)
        rows = tables.write(self.out / TABLE / "part-0.parquet", schema, batches)
        unshuffled.remove(len(shards))
        sums = {name: sum(counts[name] for counts in shards) for name in ("documents", "tokens")}
        return sums | {"sequences": rows, "patients": _distinct(unshuffled.subject_ids)}

    def _unshuffled(self) -> Unshuffled:
        return Unshuffled(self.out / "work", self.sequence_length)

    def _sequences(
        self, documents: Iterable[tuple[int, str]], counts: dict[str, int]
    ) -> Iterator[Packed]:
        encoded, length = self._encoded(documents, counts), self.sequence_length
        # filled up with eos, for which every base has a row: a pad token may have been added to
        # the tokenizer alone
        eos = self.tokenizer.eos
        if self.packed:
            return pack(encoded, length, pad=eos, overlap=self.overlap)
        before, after = self.tokenizer.frame
        return chunks(encoded, length, pad=eos, before=before, after=after)

    def _encoded(
        self, documents: Iterable[tuple[int, str]], counts: dict[str, int]
    ) -> Iterator[tuple[int, NDArray[np.int32]]]:
        encoder, eos = Encoder(self.tokenizer.tokenizer), self.tokenizer.eos
        for group in in_groups(documents, _DOCUMENTS_AT_ONCE):
            texts = [text for _, text in group]
            ids_of_texts = encoder.encode(texts, add_special_tokens=self.packed)
            for (subject_id, _), ids in zip(group, ids_of_texts, strict=True):
                if self.packed and (not len(ids) or ids[-1] != eos):
                    ids = np.append(ids, np.int32(eos))
                counts["documents"] += 1
                counts["tokens"] += len(ids)
                yield subject_id, ids

    def _batches(self, unshuffled: Unshuffled, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        order, pieces = np.arange(len(unshuffled)), unshuffled.pieces
        if self.seed is not None:
            np.random.default_rng(self.seed).shuffle(order)
        token = schema.field("input_ids").type.value_type
        for begin in range(0, len(order), _SEQUENCES_AT_ONCE):
            rows = order[begin : begin + _SEQUENCES_AT_ONCE]
            flat = pa.array(unshuffled.ids(rows).reshape(-1)).cast(token)
            ids = pa.FixedSizeListArray.from_arrays(flat, self.sequence_length)
            columns = [column.combine_chunks() for column in pieces.take(pa.array(rows)).columns]
            yield pa.RecordBatch.from_arrays([ids, *columns], schema=schema)


class Corpus:
    """The packed sequences of a corpus artifact, read by row; a row group is held in memory."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        (part,) = tables.parts(folder / TABLE)
        self._file = pq.ParquetFile(part, page_checksum_verification=True)
        self.sequence_length: int = self._file.schema_arrow.field("input_ids").type.list_size
        sizes = [
            self._file.metadata.row_group(group).num_rows
            for group in range(self._file.num_row_groups)
        ]
        self._bounds = np.cumsum([0, *sizes])
        self._held: tuple[int, list[Packed]] = (-1, [])

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def __getitem__(self, row: int) -> Packed:
        group = int(np.searchsorted(self._bounds, row, side="right")) - 1
        if group != self._held[0]:
            self._held = (group, _sequences(self._file.read_row_group(group)))
        return self._held[1][row - int(self._bounds[group])]


def _sequences(table: pa.Table) -> list[Packed]:
    ids = table["input_ids"].combine_chunks()
    matrix = ids.flatten().to_numpy().reshape(len(ids), -1).astype(np.int32)
    columns = zip(
        matrix, table["starts"].to_pylist(), table["subject_ids"].to_pylist(), strict=True
    )
    return [Packed(*row) for row in columns]


def in_groups(documents: Iterable[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    """The documents in their order, so many at once; the last group may be smaller."""
    group: list[tuple[int, str]] = []
    for document in documents:
        group.append(document)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _distinct(subject_ids: NDArray[np.int64]) -> int:
    distinct = np.unique(subject_ids)
    return int(((distinct != PADDING) & (distinct != NO_PATIENT)).sum())
