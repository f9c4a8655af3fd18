"""Launches on GPUs share a limit of a Prefect server; without it, or on a CPU, there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client

from tasks.errors import PrefectError
from tasks.launch import GPU_LIMIT, LaunchConfig, _slots


@pytest.fixture
def limited(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two GPUs for all runs."""
    monkeypatch.setenv(GPU_LIMIT, "gpu")
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("gpu", 2)
        yield
        client.delete_global_concurrency_limit_by_name("gpu")


def held() -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name("gpu").active_slots


def test_a_launch_holds_a_slot_a_rank_while_it_runs(limited: None) -> None:
    with _slots(LaunchConfig(ranks=2, accelerator="cuda")):
        assert held() == 2
        with _slots(LaunchConfig(ranks=2, accelerator="cpu")):
            assert held() == 2
    assert held() == 0


def test_ranks_that_would_wait_forever_are_refused(limited: None) -> None:
    config = LaunchConfig(ranks=2, nodes=2, rendezvous="gpu-1:29500", accelerator="cuda")
    with pytest.raises(PrefectError, match=r"launch\.ranks .* is 4, but .* 'gpu' is 2"):
        _slots(config).__enter__()


def test_a_limit_that_is_missing_is_no_leave(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GPU_LIMIT, "no-such-limit")
    with pytest.raises(PrefectError, match=r"no concurrency limit 'no-such-limit'.*install\.py"):
        _slots(LaunchConfig(accelerator="cuda")).__enter__()
