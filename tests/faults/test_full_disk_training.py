"""The disk fills while ranks write a checkpoint: that is said, and the next run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tasks import warm
from tasks.errors import SystemRefused
from tasks.launch import LaunchConfig, Progress, launch
from tests.launch.test_launch import TOY, job

TWO = LaunchConfig(ranks=2, threads_per_rank=1, accelerator="cpu")
SLOWLY = {"steps": 30, "slow_seconds": 0.05, "training": {"checkpoint_every_steps": 5}}

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(small_mount: Path) -> Iterator[Path]:
    """A file system of 4 MiB for the work folder."""
    yield small_mount
    warm.let_go()  # its log is there


def test_a_checkpoint_that_does_not_fit_is_said_and_the_former_one_counts(
    small_disk: Path, tmp_path: Path
) -> None:
    filler = small_disk / "filler"

    def fill(progress: Progress) -> None:
        if progress.step >= 6 and not filler.exists():
            left = shutil.disk_usage(small_disk).free - 4096  # for lines of progress
            filler.write_bytes(bytes(left))

    work = small_disk / "work"
    with pytest.raises(SystemRefused, match=r"^rank \d stopped: No space left on device; free"):
        launch(TOY, job(**SLOWLY), work, TWO, on_progress=fill)
    filler.unlink()
    seen: list[Progress] = []
    launch(TOY, job(**SLOWLY), work, TWO, on_progress=seen.append)
    assert seen[0].words.startswith("first, resumed from step ")
    assert seen[0].step >= 5
    launch(TOY, job(**SLOWLY | {"slow_seconds": 0.0}), tmp_path / "whole", TWO)
    losses = [load_file(folder / "first.losses")["losses"] for folder in (work, tmp_path / "whole")]
    assert losses[0].equal(losses[1])
