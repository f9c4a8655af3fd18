"""The pretrain stage as a flow: notes -> clinical adapter and its perplexity."""

from __future__ import annotations

from prefect import flow

from flows.chain import run_to_pretrain
from flows.config import AdaptConfig
from tasks.step import steering


@flow(name="pretrain", persist_result=False, result_serializer="json")
def pretrain(config: AdaptConfig, refresh: tuple[str, ...] = (), make_missing: bool = True) -> None:
    """Train the clinical adapter; what lies before it is taken from the store.

    Args:
        config: the whole chain's.
        refresh: stages or kinds whose artifacts are made anew.
        make_missing: whether artifacts of earlier stages that are missing are made, or refused.
    """
    with steering(refresh=refresh, makers=None if make_missing else ("pretrain",)):
        run_to_pretrain(config)
