"""The end of a run in Prefect's UI: artifacts, results, the report, and where it is shown.

UI artifacts are keyed by the report that they show, not by the run's name alone: another
experiment of the same name has a history of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.events import emit_event
from prefect.logging import get_run_logger

from flows.view import KINDS, page_url
from tasks.flow_run import current_store, maker_of, reached
from tasks.keys import Artifact
from tasks.report.steps import Reported

_HOW = "If the page does not open, start `clinfuse view` on the machine that holds the store."


@contextmanager
def lastly(call: Callable[[], None]) -> Iterator[None]:
    """Within it a flow works; then the call is made, also where the flow has failed.

    Not where it was told to stop: that has to be soon.
    """
    try:
        yield
    except Exception:
        with suppress(Exception):  # what failed first is what a user must hear of
            call()
        raise
    call()


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Within it a flow works; a table of what it made, and what of which run it reused, follows."""
    with lastly(lambda: _tell_of_artifacts(name)):
        yield


def _tell_of_artifacts(name: str) -> None:
    store, makers = current_store(), Counter[str]()
    rows = []
    for artifact in reached():
        manifest = store.manifest(artifact.kind, artifact.key)
        if manifest is None:  # deleted while the run went on
            continue
        maker = "this run" if artifact.how == "made" else maker_of(store, manifest)
        makers[maker] += 1
        row = {
            "artifact": f"{artifact.kind}/{artifact.key}",
            "made by": maker,
            "on": manifest.created[:16].replace("T", " "),
            "in seconds": round(manifest.seconds, 1),
        }
        rows.append(row)
    if rows:
        words = ", ".join(f"{count} by {maker}" for maker, count in makers.most_common())
        create_table_artifact(rows, key=f"{name}-artifacts", description=f"Artifacts made: {words}")


def publish(name: str, reported: Reported, measured: str = "AUROC on test") -> None:
    """Leave three UI artifacts on the flow run: the result table, the report, a link to its page.

    The report holds aggregates only: no text, no identifiers.

    Args:
        measured: what the table holds.
    """
    report = reported.report
    page, key = page_url(report), f"{name}-{report.key}"
    text = (current_store().path(report.kind, report.key) / "report.md").read_text()
    create_table_artifact(
        table=reported.table,
        key=f"{key}-results",
        description=f"{measured}. [The report]({page}). {_HOW}",
    )
    create_markdown_artifact(
        markdown=f"[The page with its plots]({page}). {_HOW}\n\n{text}", key=f"{key}-report"
    )
    create_link_artifact(link=page, link_text="The report", key=f"{key}-page", description=_HOW)


def alarm(name: str, reported: Reported, below: float | None) -> None:
    """Tell the log and Prefect of each outcome whose macro AUROC is below the bar.

    Only of the table's first model. An automation may act on the event, `clinfuse.auroc-below`;
    infra/automations.yaml has one.
    """
    first = reported.table[0]["variant"] if reported.table else None
    for row in reported.table:
        value = row["macro AUROC"]
        if below is None or row["variant"] != first or value is None or value >= below:
            continue
        sentence = (
            f"the macro AUROC of {row['outcome']} ({row['label space']}) by '{first}' is "
            f"{value:.3f}, below {below:g} (report.alarm_below)"
        )
        get_run_logger().warning(sentence)
        emit_event(
            "clinfuse.auroc-below",
            resource={
                "prefect.resource.id": f"clinfuse.run.{name}",
                "prefect.resource.name": name,
            },
            payload={"sentence": sentence, "auroc": value, "below": below},
        )


def publish_audit(name: str, audit: Artifact) -> None:
    """Leave an audit's page on the flow run: aggregates, and terms that many patients use."""
    page = current_store().path(audit.kind, audit.key) / KINDS[audit.kind]
    create_markdown_artifact(markdown=page.read_text(), key=f"{name}-{audit.key}-{audit.kind}")
