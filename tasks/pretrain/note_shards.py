"""Notes in shards: which tables each holds, and how one is tokenized and packed, by any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.pretrain.corpus import CorpusWriter, dropped_by, of_table, patients_of
from tasks.shards import Spread, one_by_one

# fixed, so that a corpus does not depend on the number of processes; more would gain nothing where
# a machine has up to 16 cores, and each holds some 50 MB
SHARDS = 16


@dataclass(frozen=True)
class Release:
    """Notes of a release, and which of them are wanted."""

    notes: tuple[Path, ...]  # `notes` artifacts
    name: str
    guard: Path | None
    splits: Path | None = None  # of which the training patients are wanted; None: all patients
    patients: int | None = None  # at most; None: all of them

    def of_table(self, table: Path) -> Iterator[tuple[int, str]]:
        """The (subject_id, text) of the wanted notes of a part of the table."""
        chosen = None
        if self.splits is not None:
            chosen = patients_of(self.splits, "train", self.patients)
        return of_table(table, chosen, dropped_by(self.guard, self.name))


Shard = tuple[tuple[Release, Path], ...]  # parts of tables


def pack_releases(
    writer: CorpusWriter, tokenizer: Path, releases: Sequence[Release], spread: Spread = one_by_one
) -> dict[str, int]:
    """Write the corpus of the releases' notes; return its counts. Raises as `CorpusWriter.join`.

    Args:
        tokenizer: the directory of the writer's.
    """
    given = {
        "out": writer.out,
        "tokenizer": tokenizer,
        "sequence_length": writer.sequence_length,
        "overlap": writer.overlap,
        "packed": writer.packed,
    }
    shards = enumerate(shards_of(releases))
    counts = spread(pack_shard, [{"shard": shard, "number": n, **given} for n, shard in shards])
    return writer.join(counts)


def shards_of(releases: Sequence[Release]) -> list[Shard]:
    """The parts of all tables, dealt out: each shard has of every kind of note."""
    parts = [
        (release, part)
        for release in releases
        for folder in release.notes
        for part in tables.parts(folder / "notes")
    ]
    return [tuple(parts[first::SHARDS]) for first in range(min(SHARDS, len(parts)))]


def pack_shard(
    shard: Shard,
    number: int,
    out: Path,
    tokenizer: Path,
    sequence_length: int,
    overlap: int,
    packed: bool,
) -> dict[str, int]:
    """Pack a shard for `CorpusWriter.join`; return its counts."""
    writer = CorpusWriter(
        out, LoadedTokenizer.load(tokenizer), sequence_length, None, overlap, packed
    )
    documents = (document for release, part in shard for document in release.of_table(part))
    return writer.pack(documents, number)
