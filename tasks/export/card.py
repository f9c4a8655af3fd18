"""The README.md of an exported member: what it is, from what it was made, and how it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks import schemas, tables
from tasks.export.job import Exported, ExportJob
from tasks.export.member import Member
from tasks.report.printing import environment, span

TEMPLATE = "export.md"
MEASURES = {"auroc_macro": "macro AUROC", "auroc_micro": "micro AUROC"}


def write_card(out: Path, member: Member, job: ExportJob, exported: Exported) -> None:
    """Write README.md into the folder of what was exported."""
    configs = sorted(out.glob("adapters/*/adapter_config.json"))  # all are of the same base
    named = json.loads(configs[-1].read_text()) if configs else {}
    facts = {
        "member": member,
        "job": job,
        "exported": exported,
        "base_name": named.get("base_model_name_or_path") or "",
        "on_the_hub": bool(named.get("revision")),
        "measured": list(measured(member, job.outcome)),
        "sigmoid": not job.one_of,
        "of_mimic": _of_mimic(member),
        "whole": len(configs) == len(job.summands) + (not job.frozen),
    }
    text = environment().get_template(TEMPLATE).render(facts)
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    (out / "README.md").write_text(text, encoding="utf-8")


def measured(member: Member, outcome: str) -> Iterator[str]:
    """What the store's metrics say of the member on test patients, in words."""
    store, this = member.store, (member.manifest.key, member.manifest.digest)
    manifests = store.manifests()
    predicted = {
        manifest.key
        for manifest in manifests
        if manifest.kind == "predictions"
        and this in {(part.key, part.digest) for part in manifest.inputs}
    }
    for manifest in reversed(manifests):  # the latest
        made_from = {part.key for part in manifest.inputs}
        if manifest.kind != "metrics" or predicted.isdisjoint(made_from):
            continue
        table = tables.read(
            store.path(manifest.kind, manifest.key) / "metrics.parquet", schemas.METRICS
        )
        for row in table.to_pylist():
            ours = (row["variant"], row["outcome"]) == (member.name, outcome)
            overall = row["against"] is row["code"] is row["code_system"] is None
            if ours and overall and row["group"] == "all" and row["metric"] in MEASURES:
                value = "not defined" if row["value"] is None else f"{row['value']:.3f}"
                yield f"{MEASURES[row['metric']]} {value} ({span(row)}), run {row['run']}"
        return


def _of_mimic(member: Member) -> bool:
    """Whether its outcomes were read from MIMIC's tables, as is assumed where nothing says it."""
    for part in member.manifest.inputs:
        manifest = member.store.manifest(part.kind, part.key) if part.kind == "outcome" else None
        if manifest:
            release: str = manifest.config.get("reading", {}).get("release", "mimic")
            return release.startswith("mimic")
    return True
