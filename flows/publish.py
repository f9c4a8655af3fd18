"""The end of a run in Prefect's UI: tables and reports, with links into the store."""

from __future__ import annotations

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tasks.evaluate.steps import Evaluated
from tasks.keys import Artifact
from tasks.step import current_store


def publish(name: str, evaluated: Evaluated) -> None:
    """Leave three UI artifacts on the flow run: the result table, the report, a link to its page.

    The report holds aggregates only: no text, no identifiers.
    """
    folder = current_store().path(evaluated.report.kind, evaluated.report.key)
    page = (folder / "report.html").as_uri()
    key = f"clinfuse-{name}"
    create_table_artifact(
        table=evaluated.table, key=f"{key}-results", description=f"AUROC on test. Report: {page}"
    )
    create_markdown_artifact(
        markdown=f"[The page with its plots]({page})\n\n{(folder / 'report.md').read_text()}",
        key=f"{key}-report",
    )
    create_link_artifact(link=page, link_text="report.html", key=f"{key}-page")


def publish_audit(name: str, leaks: Artifact) -> None:
    """Leave the audit's page on the flow run: aggregates, and terms that many patients use."""
    page = current_store().path(leaks.kind, leaks.key) / "leaks.md"
    create_markdown_artifact(markdown=page.read_text(), key=f"clinfuse-{name}-leaks")
