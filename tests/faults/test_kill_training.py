"""kill -9 in the middle of pretraining: the next run goes on exactly where a checkpoint was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tasks import schemas, tables
from tasks.launch import LaunchConfig, Progress, launch
from tasks.model.base import scratch_llama
from tasks.model.lora import LoraSettings
from tasks.pretrain.corpus import CorpusWriter, of_notes, patients_of
from tasks.pretrain.jobs import AdapterJob, TrainJob
from tasks.pretrain.tokenizer import LoadedTokenizer, train_bpe
from tasks.training.config import TrainingConfig
from tests.pretrain.conftest import write_notes, write_splits, write_text

MODULE = "tasks.pretrain.train"
TWO = LaunchConfig(ranks=2, threads_per_rank=1)
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
    torch.manual_seed(0)
    scratch_llama(
        vocabulary_size=300,
        hidden_size=32,
        layers=2,
        heads=2,
        max_positions=64,
        pad=0,
        bos=1,
        eos=2,
    ).save_pretrained(root / "base")
    return root


def adapter_job(prepared: Path, out: Path) -> TrainJob:
    (out / "work").mkdir(parents=True)
    return TrainJob(
        arm="clinical",
        method=AdapterJob(
            # dropout, so that the random numbers must be resumed as well
            base=prepared / "base",
            lora=LoraSettings(rank=4, dropout=0.1),
            gradient_checkpointing=False,
        ),
        corpus=prepared / "corpus",
        epochs=30,
        max_tokens=64 * 8 * 60,
        training=TrainingConfig(learning_rate=5e-3, batch_size=8, checkpoint_every_steps=INTERVAL),
        out=out,
        counts=out / "work" / "counts.json",
    )


def killed_at(job: TrainJob, step: int) -> int:
    """Start the training in a process of its own and kill -9 all of it; the last step reported."""
    script = (
        "import sys; from pathlib import Path; from tasks.launch import launch, LaunchConfig; "
        "from tasks.pretrain.jobs import TrainJob; "
        f"launch('{MODULE}', TrainJob.model_validate_json(sys.argv[1]), Path(sys.argv[2]), "
        "LaunchConfig(ranks=2, threads_per_rank=1))"
    )
    work = job.out / "work"
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


def test_a_killed_pretraining_resumes_exactly(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapter_job(prepared, tmp_path / "whole")
    launch(MODULE, whole, whole.out / "work", TWO)

    broken = adapter_job(prepared, tmp_path / "broken")
    reached = killed_at(broken, 25)
    assert not (broken.out / "adapter_model.safetensors").exists()
    seen: list[Progress] = []
    launch(MODULE, broken, broken.out / "work", TWO, on_progress=seen.append)

    assert seen[0].note == f"resumed from step {seen[0].step}"
    assert seen[0].step >= 20
    assert reached - seen[0].step <= INTERVAL
    first, second = (
        tables.read(job.out / "history.parquet", schemas.HISTORY).to_pylist()
        for job in (whole, broken)
    )
    for column in ("step", "loss", "learning_rate", "tokens", "examples", "epoch"):
        assert [row[column] for row in first] == [row[column] for row in second], column
    expected = load_file(whole.out / "adapter_model.safetensors")
    found = load_file(broken.out / "adapter_model.safetensors")
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    config = "adapter_config.json"
    assert (broken.out / config).read_bytes() == (whole.out / config).read_bytes()


def test_a_checkpoint_cut_off_while_it_was_written_is_not_used(
    prepared: Path, tmp_path: Path
) -> None:
    job = adapter_job(prepared, tmp_path / "cut")
    killed_at(job, 15)
    place = job.out / "work" / "checkpoints" / "clinical"
    marked = json.loads((place / "latest.json").read_text())["step"]
    (place / f"step-{marked + INTERVAL:08d}").mkdir(exist_ok=True)  # and nothing in it
    seen: list[Progress] = []
    launch(MODULE, job, job.out / "work", TWO, on_progress=seen.append)
    assert seen[0].step == marked
    assert seen[-1].step == seen[-1].total
