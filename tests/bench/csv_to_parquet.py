"""Notes from csv.gz to Parquet beside pyarrow, polars, DuckDB, pandas and `datasets`.

Each reader runs in a process of its own, by turns, into a fresh place; the median of its turns
counts, and its text is held against the csv module's (SHA-256). Each writes zstd of level 1. Set
CLINFUSE_BENCH_MB for another size than 1000 MB of CSV.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, count, islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from isal import igzip_threaded

from tasks.ingest.source import RELEASES, ReadConfig, open_table
from tasks.ingest.write import write_notes

DISCHARGE = RELEASES["mimic-iv"]["discharge"]
_TURNS = {"pyarrow open_csv": 3, "polars sink": 3, "pandas": 1, "DuckDB": 1, "datasets": 1}
_GOAL = 1.5  # times as fast as the fastest peer
_PEAK_GOAL_MIB = 700
_COLUMNS = [
    *("note_id", "subject_id", "hadm_id", "note_type", "note_seq"),
    *("charttime", "storetime", "text"),
]


def rows() -> list[dict[str, Any]]:
    """One row a peer, seconds; then one row a size, our peak memory."""
    size = int(os.environ.get("CLINFUSE_BENCH_MB", "1000"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        source = _generate(out / "discharge.csv.gz", size)
        text = _text_of_csv(source)
        turns: dict[str, list[dict[str, Any]]] = {"ours": []}
        for turn in range(max(_TURNS.values())):
            for name in ("ours", *(peer for peer, wanted in _TURNS.items() if turn < wanted)):
                turns.setdefault(name, []).append(_run(name, source, out))
        source.unlink()
        sizes = {size: turns["ours"][0]}
        for other in (size // 10, 3 * size):
            source = _generate(out / "discharge.csv.gz", other)
            sizes[other] = _run("ours", source, out)
    if any(turn["text"] != text for turn in turns["ours"]):
        raise AssertionError("the text is not the csv module's")
    ours = median(turn["seconds"] for turn in turns["ours"])
    return [
        {
            "what": f"csv.gz to Parquet, {size} MB of notes",
            "unit": "s",
            "ours": ours,
            "peer": (theirs := median(turn["seconds"] for turn in turns[peer])),
            "peer_name": peer + ("" if turns[peer][0]["text"] == text else " (other text)"),
            "ratio": theirs / ours,
            "goal": _GOAL,
            "peak_mib": max(turn["peak_mib"] for turn in turns["ours"]),
        }
        for peer in _TURNS
    ] + [
        {
            "what": f"peak memory, {megabytes} MB of notes in {made['seconds']:.1f} s",
            "unit": "MiB",
            "ours": made["peak_mib"],
            "peer": _PEAK_GOAL_MIB,
            "peer_name": "the goal",
            "ratio": _PEAK_GOAL_MIB / made["peak_mib"],
            "goal": 1.0,
            "peak_mib": made["peak_mib"],
        }
        for megabytes, made in sorted(sizes.items())
    ]


def _run(name: str, source: Path, out: Path) -> dict[str, Any]:
    place = out / "made"
    place.mkdir()
    command = [sys.executable, "-m", "tests.bench.csv_to_parquet", name, str(source), str(place)]
    made: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1]
    )
    shutil.rmtree(place)
    return made


def _measure(name: str, source: Path, out: Path) -> dict[str, Any]:
    import resource

    convert = _READERS[name]()
    began, used = time.perf_counter(), time.process_time()
    convert(source, out)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parts = sorted(out.rglob("part-*.parquet"), key=lambda part: (len(part.name), part.name))
    text = _text_of(
        text
        for part in parts
        if part.parent.name != "rejects"
        for batch in pq.ParquetFile(part).iter_batches(1000, columns=["text"])
        for text in batch["text"].to_pylist()
    )
    return {"seconds": seconds, "cpu_seconds": used, "peak_mib": peak, "text": text}


def _text_of(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _text_of_csv(source: Path) -> str:
    with igzip_threaded.open(source, "rt", encoding="utf-8", newline="") as file:
        return _text_of(row[-1] for row in islice(csv.reader(file), 1, None))


def _ours() -> Callable[[Path, Path], object]:
    reading = ReadConfig(release="mimic-iv", max_reject_share=0.0)
    return lambda source, out: write_notes(out, open_table(reading, "discharge", source))


def _pyarrow() -> Callable[[Path, Path], object]:
    def convert(source: Path, out: Path) -> None:
        reader = pacsv.open_csv(
            source,
            pacsv.ReadOptions(block_size=16 << 20),
            pacsv.ParseOptions(newlines_in_values=True),
            pacsv.ConvertOptions(column_types=DISCHARGE.schema, strings_can_be_null=False),
        )
        with pq.ParquetWriter(out / "part-0.parquet", reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)

    return convert


def _polars() -> Callable[[Path, Path], object]:
    import polars

    def convert(source: Path, out: Path) -> None:
        frame = polars.scan_csv(source, try_parse_dates=True)
        frame.sink_parquet(out / "part-0.parquet", compression="zstd", compression_level=1)

    return convert


def _pandas() -> Callable[[Path, Path], object]:
    import pandas

    def convert(source: Path, out: Path) -> None:
        kinds = {"note_id": "string", "text": "string", "note_type": "string"}
        frame = pandas.read_csv(source, dtype=kinds, keep_default_na=False)
        frame.to_parquet(out / "part-0.parquet", compression="zstd")

    return convert


def _duckdb() -> Callable[[Path, Path], object]:
    import duckdb

    def convert(source: Path, out: Path) -> None:
        duckdb.connect().execute(
            f"COPY (SELECT * FROM read_csv('{source}', header=true, quote='\"', escape='\"', "
            f"max_line_size=16777216)) TO '{out / 'part-0.parquet'}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )

    return convert


def _datasets() -> Callable[[Path, Path], object]:
    import datasets

    datasets.disable_progress_bars()

    def convert(source: Path, out: Path) -> None:
        table = datasets.load_dataset(
            "csv",
            data_files=str(source),
            cache_dir=str(out / "cache"),
            split="train",
            keep_default_na=False,
        ).with_format("arrow")
        schema = table.features.arrow_schema
        with pq.ParquetWriter(out / "part-0.parquet", schema, compression="zstd") as writer:
            for batch in table.iter(2000):
                writer.write_table(batch.cast(schema))

    return convert


_READERS: dict[str, Callable[[], Callable[[Path, Path], object]]] = {
    "ours": _ours,
    "pyarrow open_csv": _pyarrow,
    "polars sink": _polars,
    "pandas": _pandas,
    "DuckDB": _duckdb,
    "datasets": _datasets,
}


def _generate(path: Path, megabytes: int) -> Path:
    """A table of notes of about 10 kB, 2.9 times compressed; MIMIC's own 3.3 GB are 1.1 GB."""
    draw = Random(7)
    lines = list(islice(_lines(draw), 500_000))
    with igzip_threaded.open(path, "wt", 2, "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        written = 0
        for number in count():
            subject, hadm, day = 10_000_000 + number, 20_000_000 + number, "2150-01-02 00:00:00"
            text = "\n".join(draw.choices(lines, k=draw.randint(80, 240)))
            writer.writerow([f"{subject}-DS-1", subject, hadm, "DS", 1, day, day, text])
            written += len(text)
            if written > megabytes * 1_000_000:
                break
    return path


def _lines(draw: Random) -> Iterator[str]:
    """Lines of phrases, few of them frequent, with commas and quotes."""
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
        yield " ".join(draw.choices(phrases, cum_weights=of_phrases, k=4))


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
