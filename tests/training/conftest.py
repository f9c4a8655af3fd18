"""A world of one rank inside the test process: no launch, so a training takes milliseconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def process_group() -> Iterator[None]:
    import torch

    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "0")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def world(process_group: None, tmp_path: Path) -> Any:
    import torch

    from tasks.training.program import World

    work = tmp_path / "work"
    work.mkdir()
    return World(rank=0, size=1, local_rank=0, work=work, device=torch.device("cpu"))
