"""The leak audit as a flow: notes and outcomes -> which sections give an outcome away."""

from __future__ import annotations

from prefect import flow

from flows.config import AdaptConfig
from flows.publish import publish_audit
from tasks.evaluate.steps import audit_leaks
from tasks.ingest.steps import cut_sections, ingest
from tasks.step import steering


@flow(name="audit", persist_result=False, result_serializer="json")
def audit(config: AdaptConfig, refresh: tuple[str, ...] = ()) -> None:
    """Look for leaks; what ingest makes is taken from the store or made.

    Args:
        config: the whole chain's; only its ingest and audit parts are used.
        refresh: stages or kinds whose artifacts are made anew.
    """
    with steering(refresh=refresh):
        ingested = ingest(config.ingest)
        leaks = audit_leaks(
            sections=cut_sections(notes=ingested.discharge, cohort=ingested.cohort),
            cohort=ingested.cohort,
            outcomes=ingested.outcomes,
            config=config.audit,
        )
    publish_audit(config.name, leaks)
