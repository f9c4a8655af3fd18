"""The finetune stage as a flow: cohort, outcomes, clinical adapter -> predictions of every arm."""

from __future__ import annotations

from prefect import flow

from flows.chain import run_to_finetune
from flows.config import AdaptConfig
from tasks.step import steering


@flow(name="finetune", persist_result=False, result_serializer="json")
def finetune(config: AdaptConfig, refresh: tuple[str, ...] = (), make_missing: bool = True) -> None:
    """Train the task adapters and their ablations; what lies before is taken from the store.

    Args:
        config: the whole chain's.
        refresh: stages or kinds whose artifacts are made anew.
        make_missing: whether artifacts of earlier stages that are missing are made, or refused.
    """
    with steering(refresh=refresh, makers=None if make_missing else ("finetune",)):
        run_to_finetune(config)
