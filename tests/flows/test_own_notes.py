"""A table of the user's own goes through the chain to the report, by TF-IDF alone."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect import flow

from flows.chain import Chain
from flows.check import check
from flows.loading import load_config
from tasks.finetune.stage import Finetuned
from tasks.pretrain.stage import Pretrained
from tasks.store import Store

ROOT = Path(__file__).parents[2]
SECRET = "Quonvestible"
SIGNS = {"flu": "shivering", "gout": "toe", "burn": "kettle"}


@dataclass(frozen=True)
class WithoutMembers(Chain):
    """The chain without a training: what is evaluated is the baseline alone."""

    @cached_property
    def finetuned(self) -> Finetuned:
        return Finetuned((), ())

    @cached_property
    def pretrained(self) -> Pretrained:
        nothing = Path()
        return Pretrained(nothing, nothing, None, None, {}, None, "next token", None)


def write_table(path: Path, rows: int = 360) -> None:
    """Texts in which a word tells of each label, mostly."""
    drawn = random.Random(7)
    names = [[name for name in SIGNS if drawn.random() < 0.4] for _ in range(rows)]
    texts = [
        f"{SECRET} tells of a "
        + " and a ".join([SIGNS[name] for name in held if drawn.random() < 0.9] or ["wish"])
        for held in names
    ]
    table = pa.table(
        {
            "id": [f"{SECRET}-{row}" for row in range(rows)],
            "patient": [f"{SECRET}-{row // 2}" for row in range(rows)],
            "text": texts,
            "labels": names,
            "urgent": [int("flu" in held) for held in names],
        }
    )
    pq.write_table(table, path)


def test_a_table_of_ones_own_comes_to_a_report(
    prefect_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    write_table(tmp_path / "notes.parquet")
    config = load_config(
        ROOT / "configs" / "table.yaml",
        [
            f"ingest.source={tmp_path / 'notes.parquet'}",
            "ingest.source.time=null",
            "ingest.outcomes=[{kind: labels, column: labels}, "
            "{kind: labels, name: urgency, flags: [urgent]}]",
            "baselines={stack: false, tfidf: {strengths: [1.0], longest_ngrams: [1]}}",
        ],
    )
    check(config, flow="baselines")

    @flow(persist_result=False, result_serializer="json")
    def run() -> None:
        WithoutMembers(config).reported  # noqa: B018

    run()
    [metrics] = prefect_store.root.glob("metrics/*/metrics.parquet")
    rows = pq.read_table(metrics).to_pylist()
    whole = {
        row["outcome"]: row["value"]
        for row in rows
        if (row["metric"], row["group"], row["split"]) == ("auroc_macro", "all", "test")
    }
    assert set(whole) == {"labels", "urgency"}
    assert min(whole.values()) > 0.8
    [report] = prefect_store.root.glob("report/*")
    said = [path for path in report.rglob("*") if path.suffix != ".parquet" and path.is_file()]
    assert len(said) > 3
    manifests = [*prefect_store.root.rglob("manifest.json"), *prefect_store.root.glob("runs/*")]
    assert not [path for path in (*said, *manifests) if SECRET.encode() in path.read_bytes()]
    assert json.loads((report / "manifest.json").read_text())["kind"] == "report"
