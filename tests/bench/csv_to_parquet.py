"""Notes from csv.gz to Parquet, beside pyarrow's own reader, pandas and the csv module.

Each reader runs in a process of its own, the best of three turns counts, and all must give the
same text (SHA-256). Set CLINFUSE_BENCH_MB for another size than 200 MB of CSV.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate, count, islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from isal import igzip_threaded

from tasks.ingest.source import DISCHARGE
from tasks.ingest.write import write_notes

_PEERS = ("pyarrow open_csv", "pandas", "csv module")
_GOAL = 1.5  # times as fast as the fastest peer
_TURNS = 3
_COLUMNS = [
    *("note_id", "subject_id", "hadm_id", "note_type", "note_seq"),
    *("charttime", "storetime", "text"),
]
_HEADINGS = ("Chief Complaint:", "History of Present Illness:", "Brief Hospital Course:")


def rows() -> list[dict[str, Any]]:
    """One row a peer: seconds, best of three turns."""
    megabytes = int(os.environ.get("CLINFUSE_BENCH_MB", "200"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "discharge.csv.gz"
        _generate(source, megabytes * 1_000_000)
        turns = {
            name: [_run(name, source, Path(folder)) for _ in range(_TURNS)]
            for name in ("ours", *_PEERS)
        }
    digests = {turn["digest"] for each in turns.values() for turn in each}
    if len(digests) > 1:
        raise AssertionError("the readers do not give the same text")
    best = {name: min(turn["seconds"] for turn in each) for name, each in turns.items()}
    return [
        {
            "what": f"csv.gz to Parquet, {megabytes} MB of notes",
            "unit": "s",
            "ours": best["ours"],
            "peer": best[peer],
            "peer_name": peer,
            "ratio": best[peer] / best["ours"],
            "goal": _GOAL,
            "peak_mib": max(turn["peak_mib"] for turn in turns["ours"]),
        }
        for peer in _PEERS
    ]


def _run(name: str, source: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.csv_to_parquet", name, str(source), str(out)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _measure(name: str, source: Path, out: Path) -> dict[str, Any]:
    import resource

    convert = _READERS[name]
    began = time.perf_counter()
    made = convert(source, out)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    digest = hashlib.sha256()
    with pq.ParquetFile(made) as file:
        for batch in file.iter_batches(1000, columns=["text"]):
            for text in batch["text"].to_pylist():
                digest.update(text.encode() + b"\0")
    return {"seconds": seconds, "peak_mib": peak, "digest": digest.hexdigest()}


def _ours(source: Path, out: Path) -> Path:
    write_notes(out / "ours", source, 0.0)
    return out / "ours" / "notes" / "part-0.parquet"


def _pyarrow(source: Path, out: Path) -> Path:
    reader = pacsv.open_csv(
        source,
        pacsv.ReadOptions(block_size=16 << 20),
        pacsv.ParseOptions(newlines_in_values=True),
        pacsv.ConvertOptions(column_types=DISCHARGE.schema, strings_can_be_null=False),
    )
    with pq.ParquetWriter(out / "pyarrow.parquet", reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
    return out / "pyarrow.parquet"


def _pandas(source: Path, out: Path) -> Path:
    import pandas

    kinds = {"note_id": "string", "text": "string", "note_type": "string"}
    frame = pandas.read_csv(source, dtype=kinds, keep_default_na=False)
    frame.to_parquet(out / "pandas.parquet", compression="zstd")
    return out / "pandas.parquet"


def _csv_module(source: Path, out: Path) -> Path:
    schema = pa.schema([(name, pa.large_string()) for name in _COLUMNS])
    with (
        gzip.open(source, "rt", encoding="utf-8", newline="") as file,
        pq.ParquetWriter(out / "csv.parquet", schema, compression="zstd") as writer,
    ):
        reader = csv.reader(file)
        next(reader)
        while held := [row for _, row in zip(range(2000), reader, strict=False)]:
            columns = list(zip(*held, strict=True))
            writer.write_table(pa.table([list(column) for column in columns], schema=schema))
    return out / "csv.parquet"


_READERS: dict[str, Callable[[Path, Path], Path]] = {
    "ours": _ours,
    "pyarrow open_csv": _pyarrow,
    "pandas": _pandas,
    "csv module": _csv_module,
}


def _generate(path: Path, wanted: int) -> None:
    """A table of notes, 2.9 times compressed; MIMIC's own 3.3 GB are 1.1 GB.

    The texts come round again after 30 MB, far behind what gzip and zstd look back on.
    """
    texts = list(islice(_texts(Random(7)), 3000))
    with igzip_threaded.open(path, "wt", 2, "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        written = 0
        for number in count():
            subject, hadm, day = 10_000_000 + number, 20_000_000 + number, "2150-01-02 00:00:00"
            text = texts[number % len(texts)]
            writer.writerow([f"{subject}-DS-1", subject, hadm, "DS", 1, day, day, text])
            written += len(text)
            if written > wanted:
                return


def _texts(draw: Random) -> Iterator[str]:
    """Notes of about 10 kB: lines of phrases, few of them frequent, with commas and quotes."""
    letters = "eeeeetttaaoinshrdlucmfpgwybvk"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 11))) for _ in range(8000)]
    words[:8] = ["the", "of", "and", "___", "was", "98.6,", '"no"', "patient"]
    of_words = list(accumulate(1 / (rank + 2) for rank in range(len(words))))
    phrases = [
        " ".join(draw.choices(words, cum_weights=of_words, k=draw.randint(1, 4)))
        for _ in range(80_000)
    ]
    of_phrases = list(accumulate(1 / (rank + 20) for rank in range(len(phrases))))
    while True:
        lines = draw.randint(80, 240)
        drawn = draw.choices(phrases, cum_weights=of_phrases, k=4 * lines)
        yield "\n".join(" ".join(drawn[at : at + 4]) for at in range(0, len(drawn), 4))


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
