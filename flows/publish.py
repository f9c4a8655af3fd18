"""The end of a run in Prefect's UI: the result table and the report, with links into the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tasks.step import current_store
from tasks.keys import Artifact


def publish(name: str, headline: Sequence[dict[str, Any]], report: Artifact) -> Path:
    """Leave three UI artifacts on the flow run; return where the report lies.

    The report holds aggregates only: no text, no identifiers.
    """
    folder = current_store().path(report.kind, report.key)
    page = (folder / "report.html").as_uri()
    key = f"clinfuse-{name}"
    create_table_artifact(
        table=list(headline), key=f"{key}-results", description=f"AUROC on test. Report: {page}"
    )
    create_markdown_artifact(
        markdown=f"[The page with its plots]({page})\n\n{(folder / 'report.md').read_text()}",
        key=f"{key}-report",
    )
    create_link_artifact(link=page, link_text="report.html", key=f"{key}-page")
    return folder
