"""What every test may use: one Prefect server for the session, and stores of its own."""

from __future__ import annotations

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.store import Store

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n`, a file's tests stay together, and so do all that look at the world of one run."""
    for item in items:
        looks = "server" in getattr(item, "fixturenames", ())
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("world" if looks else file))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real Prefect API on a temporary SQLite database; it takes about 10 s to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def prefect_store(prefect_server: None, tmp_path: Path) -> Iterator[Store]:
    """A store that flows called within the test write to."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    place = tmp_path / "store"
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(place)}):
        yield Store(place)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The open data beside the checkout; a test that wants it is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the open data (../shared/data) is not on this machine")
    return REAL_DATA


def device() -> Any:
    """Where a training inside the test process computes: with DS_ACCELERATOR=cuda on a GPU."""
    import torch

    return torch.device("cuda" if os.environ["DS_ACCELERATOR"] == "cuda" else "cpu")


@pytest.fixture(scope="session")
def process_group() -> Iterator[None]:
    import torch

    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "0")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("nccl" if device().type == "cuda" else "gloo")
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def world(process_group: None, tmp_path: Path) -> Any:
    """A world of one rank inside the test process: no launch, so a training takes little."""
    from tasks.training.program import World

    work = tmp_path / "work"
    work.mkdir()
    return World(rank=0, size=1, local_rank=0, work=work, device=device())
