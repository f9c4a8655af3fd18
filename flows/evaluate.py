"""The evaluate stage as a flow: predictions -> AUROC with intervals -> report."""

from __future__ import annotations

from prefect import flow

from flows.chain import run_to_report
from flows.config import AdaptConfig
from flows.publish import publish
from tasks.step import steering


@flow(name="evaluate", persist_result=False, result_serializer="json")
def evaluate(config: AdaptConfig, refresh: tuple[str, ...] = (), make_missing: bool = True) -> None:
    """Measure and report; what lies before is taken from the store.

    Args:
        config: the whole chain's.
        refresh: stages or kinds whose artifacts are made anew.
        make_missing: whether artifacts of earlier stages that are missing are made, or refused.
    """
    with steering(refresh=refresh, makers=None if make_missing else ("evaluate",)):
        evaluated = run_to_report(config)
    publish(config.name, evaluated)
