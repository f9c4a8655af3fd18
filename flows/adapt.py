"""The chain as one flow: ingest -> pretrain -> finetune -> evaluate."""

from __future__ import annotations

from prefect import flow

from flows.chain import run_to_report
from flows.config import AdaptConfig
from flows.publish import publish
from tasks.step import steering


@flow(name="adapt", persist_result=False, result_serializer="json")
def adapt(config: AdaptConfig, refresh: tuple[str, ...] = ()) -> None:
    """Take MIMIC-IV files to a report of AUROCs.

    Args:
        config: what each stage does; give a preset and override what differs.
        refresh: stages or kinds whose artifacts are made anew.
    """
    with steering(refresh=refresh):
        evaluated = run_to_report(config)
    publish(config.name, evaluated)
