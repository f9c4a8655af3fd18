"""Tokenizing and packing notes beside `datasets.map` with the usual grouping function.

The peer is what transformers' run_clm.py does: a map that tokenizes, and one that joins the tokens
of 1,000 notes and cuts them into blocks; it drops the rest of each thousand. Both are given the
same processes, by turns; the medians count. Set CLINFUSE_BENCH_NOTES for another number of notes.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.pretrain.corpus import Corpus, CorpusWriter
from tasks.pretrain.note_shards import Release, pack_releases
from tasks.pretrain.packing import PADDING
from tasks.shards import Counts
from tests.bench._mixture import write_mixture, write_tokenizer

LENGTH = 512
NOTES = 8000
GOAL, FILL_GOAL = 2.0, 0.995
_TURNS = 3
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MAP = "datasets.map, run_clm's grouping"


def rows() -> list[dict[str, Any]]:
    """Seconds by the clock and of the processors; how full sequences are, and notes cut."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        count = int(os.environ.get("CLINFUSE_BENCH_NOTES", NOTES))
        notes = write_mixture(place / "notes", count)
        tokenizer = write_tokenizer(place / "tokenizer", notes)
        processes = len(os.sched_getaffinity(0))
        arms = {
            "ours": partial(_ours, notes, tokenizer, processes),
            "peer": partial(_map, notes, tokenizer, processes),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        for turn in range(_TURNS):
            for name, arm in arms.items():
                out = place / f"{name}-{turn}"
                taken[name].append(_timed(arm, out))
                if turn < _TURNS - 1:
                    shutil.rmtree(out)
        clock, work = (
            {name: median(turn[index] for turn in turns) for name, turns in taken.items()}
            for index in (0, 1)
        )
        lengths = _lengths(notes, tokenizer)
        corpus = Corpus(place / f"ours-{_TURNS - 1}")
    what = f"tokenize and pack {count:,} notes, {lengths.sum():,} tokens, {processes} processes"
    quantiles = ", ".join(f"{length:.0f}" for length in np.quantile(lengths, _QUANTILES))
    print(f"tokens of a note (5, 25, 50, 75, 95%): {quantiles}")
    return [
        _seconds(what, clock),
        _seconds("the same, seconds of the processors", work),
        _filled(corpus, lengths),
        *_cut(corpus, lengths),
    ]


def _ours(notes: Path, tokenizer: Path, processes: int, out: Path) -> None:
    writer = CorpusWriter(out, LoadedTokenizer.load(tokenizer), LENGTH, seed=0, overlap=1)
    releases = [Release((notes,), "source", None)]
    if processes == 1:
        pack_releases(writer, tokenizer, releases)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:

        def spread(
            function: Callable[..., Counts], shards: Sequence[Mapping[str, Any]]
        ) -> list[Counts]:
            futures = [pool.submit(function, **shard) for shard in shards]
            return [future.result() for future in futures]

        pack_releases(writer, tokenizer, releases, spread)


def _map(notes: Path, tokenizer: Path, processes: int, out: Path) -> None:
    from datasets import disable_progress_bars, load_dataset
    from transformers import PreTrainedTokenizerFast

    disable_progress_bars()
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer / "tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    parts = [str(part) for part in sorted((notes / "notes").iterdir())]
    given = load_dataset("parquet", data_files=parts, cache_dir=str(out / "cache"), split="train")
    several: dict[str, Any] = {"batched": True, "num_proc": processes if processes > 1 else None}
    encoded = given.map(
        lambda batch: fast(batch["text"]), remove_columns=given.column_names, **several
    )
    encoded.map(_grouped, **several).save_to_disk(out / "blocks")


def _grouped(batch: Mapping[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    joined = {name: list(chain(*batch[name])) for name in batch}
    total = len(joined["input_ids"]) // LENGTH * LENGTH
    blocks = {
        name: [ids[begin : begin + LENGTH] for begin in range(0, total, LENGTH)]
        for name, ids in joined.items()
    }
    return blocks | {"labels": blocks["input_ids"].copy()}


def _timed(arm: Callable[[Path], None], out: Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processors, processes that have ended among them."""
    began, worked = time.perf_counter(), _worked()
    arm(out)
    return time.perf_counter() - began, _worked() - worked


def _worked() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _lengths(notes: Path, tokenizer: Path) -> NDArray[np.int64]:
    """Tokens of each note, in the order of their patients, which are numbered from 1."""
    encode = LoadedTokenizer.load(tokenizer).tokenizer.encode_batch_fast
    table = tables.read(notes / "notes", schemas.NOTES, ["subject_id", "text"])
    table = table.sort_by("subject_id")
    return np.array([len(encoding.ids) for encoding in encode(table["text"].to_pylist())])


def _filled(corpus: Corpus, lengths: NDArray[np.int64]) -> dict[str, Any]:
    ours = float(lengths.sum() / (len(corpus) * LENGTH))
    padded = float(np.minimum(lengths, LENGTH).mean() / LENGTH)
    lost = np.maximum(lengths - LENGTH, 0).sum() / lengths.sum()
    return {
        "what": "tokens of notes among those of the sequences",
        "unit": "share",
        "ours": f"{ours:.2%}",
        "peer": f"{padded:.2%}",
        "peer_name": f"a note a row, padded to {LENGTH}; {lost:.0%} of the tokens are cut off",
        "ratio": ours / padded,
        "goal": f"at least {FILL_GOAL:.1%}",
        "peak_mib": None,
    }


def _cut(corpus: Corpus, lengths: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The share of notes in several pieces: of all, and of those that fit into a sequence."""
    pieces = np.zeros(len(lengths) + 1, int)
    for row in range(len(corpus)):
        np.add.at(pieces, [owner for owner in corpus[row].subject_ids if owner != PADDING], 1)
    ours = pieces[1:] > 1
    ends = np.cumsum(lengths)
    peer = (ends - lengths) // LENGTH != (ends - 1) // LENGTH
    made = []
    for what, rows in (("of all", lengths > 0), (f"of up to {LENGTH} tokens", lengths <= LENGTH)):
        shares = float(ours[rows].mean()), float(peer[rows].mean())
        made.append(
            {
                "what": f"notes {what} that are cut",
                "unit": "share",
                "ours": f"{shares[0]:.1%}",
                "peer": f"{shares[1]:.1%}",
                "peer_name": "joined, and cut into blocks",
                "ratio": shares[1] / shares[0] if shares[0] else None,
                "goal": None,
                "peak_mib": None,
            }
        )
    return made


def _seconds(what: str, seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "what": what,
        "unit": "s",
        "ours": seconds["ours"],
        "peer": seconds["peer"],
        "peer_name": _MAP,
        "ratio": seconds["peer"] / seconds["ours"],
        "goal": GOAL,
        "peak_mib": None,
    }
