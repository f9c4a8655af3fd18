"""kill -9 in the middle of pretraining: the next run goes on exactly where a checkpoint was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.launch import LaunchConfig, Progress, launch
from tasks.model.adapters.methods import Lora
from tasks.pretrain.corpus import CorpusWriter, of_notes, patients_of
from tasks.pretrain.jobs import AdapterJob, OntologyJob
from tasks.pretrain.tokenizer import train_bpe
from tasks.training.config import TrainingConfig
from tests.pretrain.conftest import write_base, write_notes, write_splits, write_text

MODULE = "tasks.pretrain.train"
TWO = LaunchConfig(ranks=2, threads_per_rank=1)
ZERO3 = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero3.json"
INTERVAL = 10  # steps between checkpoints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/ and corpus/."""
    root = tmp_path_factory.mktemp("killed")
    train_bpe(write_text(root / "general.txt"), 300, root / "tokenizer")
    notes = of_notes([write_notes(root)], patients_of(write_splits(root), "train"))
    tokenizer = LoadedTokenizer.load(root / "tokenizer")
    CorpusWriter(root / "corpus", tokenizer, 64, seed=0).write(notes)
    write_base(root / "base")
    return root


def adapter_job(prepared: Path, deepspeed: Path | None = None) -> AdapterJob:
    return AdapterJob(
        # dropout, so that the random numbers must be resumed as well
        adapter=Lora(rank=4, dropout=0.1),
        base=prepared / "base",
        corpus=prepared / "corpus",
        epochs=30,
        max_tokens=64 * 8 * 60,
        training=TrainingConfig(
            learning_rate=5e-3, batch_size=8, checkpoint_every_steps=INTERVAL, deepspeed=deepspeed
        ),
    )


def killed_at(
    job: AdapterJob | OntologyJob, work: Path, step: int, module: str = MODULE, ranks: int = 2
) -> int:
    """Start the training in a process of its own and kill -9 all of it; the last step reported."""
    name = type(job).__name__
    script = (
        "import sys; from pathlib import Path; from tasks.launch import launch, LaunchConfig; "
        f"from tasks.pretrain.jobs import {name}; "
        f"launch('{module}', {name}.model_validate_json(sys.argv[1]), Path(sys.argv[2]), "
        f"LaunchConfig(ranks={ranks}, threads_per_rank=1))"
    )
    command = [sys.executable, "-c", script, job.model_dump_json(), str(work)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while last_step(work) < step:
        assert process.poll() is None, (work / "logs" / "rank-0.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    tree = [*psutil.Process(process.pid).children(recursive=True), process]
    for each in tree:
        each.send_signal(signal.SIGKILL)
    process.wait()
    return last_step(work)


def last_step(work: Path) -> int:
    path = work / "progress.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else -1


@pytest.fixture(scope="module")
def whole(prepared: Path) -> Path:
    """The adapter of a training that nothing interrupted."""
    out = prepared / "whole"
    launch(MODULE, adapter_job(prepared), out / "work", TWO)
    return out


def history(out: Path) -> list[dict[str, Any]]:
    return tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()


def resumed(job: AdapterJob, work: Path) -> Progress:
    """Run the job to its end; what it said first."""
    seen: list[Progress] = []
    launch(MODULE, job, work, TWO, on_progress=seen.append)
    assert seen[-1].step == seen[-1].total
    return seen[0]


def test_a_killed_pretraining_resumes_exactly(prepared: Path, whole: Path, tmp_path: Path) -> None:
    job, broken = adapter_job(prepared), tmp_path / "broken"
    reached = killed_at(job, broken / "work", 25)
    assert not (broken / "adapter_model.safetensors").exists()
    # as if it had been killed while it wrote the next checkpoint
    checkpoints = broken / "work" / "checkpoints" / "clinical"
    marked = json.loads((checkpoints / "latest.json").read_text())["step"]
    (checkpoints / f"step-{marked + INTERVAL:08d}").mkdir(exist_ok=True)

    first = resumed(job, broken / "work")
    assert (first.step, first.note) == (marked, f"resumed from step {marked}")
    assert marked >= 20
    assert reached - marked <= INTERVAL
    for column in ("step", "loss", "learning_rate", "tokens", "examples", "epoch"):
        expected, found = ([row[column] for row in history(out)] for out in (whole, broken))
        assert found == expected, column
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_zero3_killed_and_resumed_agrees_with_zero2(
    prepared: Path, whole: Path, tmp_path: Path
) -> None:
    job, out = adapter_job(prepared, deepspeed=ZERO3), tmp_path / "zero3"
    killed_at(job, out / "work", 15)
    assert resumed(job, out / "work").step >= 10
    losses = [row["loss"] for row in history(out)]
    assert losses == pytest.approx([row["loss"] for row in history(whole)], abs=1e-5)
    expected = load_file(whole / "adapter_model.safetensors")
    found = load_file(out / "adapter_model.safetensors")
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
