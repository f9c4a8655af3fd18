"""The leak audit as a flow: notes and outcomes -> which sections give an outcome away."""

from __future__ import annotations

from flows.config import AdaptConfig
from flows.publish import publish_audit
from flows.stages import stage_flow
from tasks.audit.steps import audit_leaks
from tasks.ingest.steps import cut_sections, ingest


def _audit(config: AdaptConfig) -> None:
    """Look for leaks; what ingest makes is taken from the store or made."""
    ingested = ingest(config.ingest)
    leaks = audit_leaks(
        sections=cut_sections(notes=ingested.discharge, cohort=ingested.cohort),
        cohort=ingested.cohort,
        outcomes=ingested.outcomes,
        config=config.audit,
    )
    publish_audit(config.name, leaks)


audit = stage_flow("audit", "Look for sections of the notes that give an outcome away.", _audit)
