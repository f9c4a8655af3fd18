"""Training the demo's base from nothing, beside commit be50a16 on the same tokens, on one rank.

By turns, each in a process of its own; the medians count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tasks.data.tokenizer import LoadedTokenizer
from tasks.pretrain.corpus import CorpusWriter, of_texts
from tasks.pretrain.tokenizer import train_bpe
from tasks.synth.catalog import load
from tasks.synth.general import general_corpus

ROOT = Path(__file__).parents[2]
BEFORE = "be50a16"
GOAL = 1.5
_STEPS, _WARM, _TURNS, _BATCH, _LENGTH = 30, 5, 3, 16, 256
_SHAPE = {"hidden_size": 64, "layers": 2, "heads": 4}  # configs/demo.yaml's
_PROGRAMS = {
    "ours": ("tasks.pretrain.base", "tasks.pretrain.objectives.causal"),
    "before": ("tasks.pretrain.train", "tasks.pretrain.language"),
}


def rows() -> list[dict[str, Any]]:
    """Tokens a second by the clock, and of the processor's time."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        archive = subprocess.run(
            ["git", "archive", BEFORE, "tasks"], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        (place / "before").mkdir()
        subprocess.run(["tar", "-x", "-C", place / "before"], check=True, input=archive.stdout)
        tokenizer, sequences = _write(place)
        jobs = _jobs(place, tokenizer, sequences)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for turn in range(_TURNS):
            for name, job in jobs.items():
                taken[name].append(_run(name, place, job, turn))
    rates = {name: np.array(turns) for name, turns in taken.items()}
    return [
        {
            "what": "training the demo's base, one rank",
            "unit": unit,
            "ours": median(rates["ours"][:, column]),
            "peer": median(rates["before"][:, column]),
            "peer_name": f"commit {BEFORE}",
            "ratio": median(rates["ours"][:, column]) / median(rates["before"][:, column]),
            "goal": GOAL,
            "peak_mib": None,
        }
        for column, unit in enumerate(("tok/s", "tokens a second of the processor"))
    ]


def _write(place: Path) -> tuple[LoadedTokenizer, int]:
    text = place / "general.txt"
    text.write_text(general_corpus(load(), 0))
    (place / "tokenizer").mkdir()
    train_bpe(text, 2000, place / "tokenizer")
    tokenizer = LoadedTokenizer.load(place / "tokenizer")
    writer = CorpusWriter(place / "corpus", tokenizer, _LENGTH, seed=0, overlap=1)
    counts = writer.write(of_texts(text.read_text().split("\n\n")))
    return tokenizer, counts["sequences"]


def _jobs(place: Path, tokenizer: LoadedTokenizer, sequences: int) -> dict[str, dict[str, Any]]:
    """What each version's program is told: the same training, each as its demo has it."""
    training = {"learning_rate": 3e-3, "batch_size": _BATCH, "schedule": "cosine"}
    epochs = (_STEPS * _BATCH - 1) / sequences
    corpus = str(place / "corpus")
    base = {
        "kind": "scratch",
        "corpus": str(place / "general.txt"),
        **_SHAPE,
        "sequence_length": _LENGTH,
        "epochs": epochs,
        "training": training,
    }
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "eos": tokenizer.eos}
    method = {"kind": "full", "vocabulary_size": tokenizer.size, "max_positions": 2048}
    plain = training | {"deepspeed": str(ROOT / "configs" / "deepspeed" / "zero0.json")}
    return {
        "ours": {
            "base": base | {"training": plain},
            "tokenizer": str(place / "tokenizer"),
            "corpus": corpus,
        },
        "before": {
            "arm": "base",
            "method": method | _SHAPE | special,
            "corpus": corpus,
            "epochs": epochs,
            "max_tokens": None,
            "training": training,
        },
    }


def _run(name: str, place: Path, job: dict[str, Any], turn: int) -> tuple[float, float]:
    """Tokens a second after the first steps: by the clock, of the processor."""
    out = place / f"{name}-{turn}"
    work = out / "work"
    work.mkdir(parents=True)
    if name == "before":
        job = job | {"out": str(out), "counts": str(work / "counts.json")}
    (work / "job.json").write_text(json.dumps(job))
    root = ROOT if name == "ours" else place / "before"
    environment = {**os.environ, "PYTHONPATH": str(root), "DS_ACCELERATOR": "cpu"}
    environment |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29400 + turn)}
    environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, str(Path(__file__).with_name("_scratch.py")), *_PROGRAMS[name]]
    command += [str(work / "job.json"), str(work / "ticks.txt")]
    done = subprocess.run(
        command, env=environment, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError(done.stdout.decode()[-2000:])
    clock, worked, tokens = np.loadtxt(work / "ticks.txt").T
    learned = tokens[_WARM:-1].sum()
    return learned / (clock[-1] - clock[_WARM]), learned / (worked[-1] - worked[_WARM])
