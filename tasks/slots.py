"""Slots of a Prefect concurrency limit, which a launch on GPUs holds while its ranks run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from tasks.errors import PrefectError


@contextmanager
def gpu_slots(name: str, count: int) -> Iterator[None]:
    """Within it, hold so many slots of the concurrency limit of that name.

    Waits until they are free. Raises PrefectError where there is no such limit, or a smaller one:
    Prefect itself would go on without it, or wait forever.
    """
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(name).limit
        except ObjectNotFound:
            raise PrefectError(
                f"the server has no concurrency limit '{name}', which GPUs are counted by; run "
                f"`python infra/install.py`, or `prefect gcl create {name} --limit GPUS`"
            ) from None
    if count > limit:
        raise PrefectError(
            f"launch.ranks (times launch.nodes) is {count}, but the concurrency limit '{name}' is "
            f"{limit}, so that they would wait forever; lower the ranks, or `prefect gcl update "
            f"{name} --limit GPUS`"
        )
    # a server that is away for a while ends no training
    with concurrency(name, occupy=count, strict=True, raise_on_lease_renewal_failure=False):
        yield
