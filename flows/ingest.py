"""The ingest stage as a flow: MIMIC-IV files -> notes, splits, cohort, outcomes."""

from __future__ import annotations

from prefect import flow

from flows.config import AdaptConfig
from tasks.ingest import steps
from tasks.step import steering


@flow(name="ingest", persist_result=False, result_serializer="json")
def ingest(config: AdaptConfig, refresh: tuple[str, ...] = ()) -> None:
    """Read the source.

    Args:
        config: the whole chain's; only its ingest part is used.
        refresh: stages or kinds whose artifacts are made anew.
    """
    with steering(refresh=refresh):
        steps.ingest(config.ingest)
