"""The table of clinical adapters: each base first, published figures apart and marked so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.evaluate.perplexity import write_adapter_metrics
from tasks.metrics_table import FITTED_OUTPUT, NEXT_TOKEN
from tasks.report.config import Adapted, Lineage
from tasks.report.facts import Making
from tasks.report.methods_page import BASE_ALONE, Methods, entries, lines, write_page

NATS = {"one-lora": 2.0, "one-dora": 1.9, "encoder-lora": 1.0}  # a token, with the adapter


@pytest.fixture
def methods(tmp_path: Path) -> Methods:
    tokens = np.full(20, 100)
    spread = np.resize([-5.0, 5.0], 20)
    adapters = {}
    for run, nats in NATS.items():
        columns = {
            "subject_id": np.arange(20),
            "tokens": tokens,
            "bytes": 4 * tokens,
            "nll_before": 3.0 * tokens + spread,
            "nll_after": nats * tokens + spread,
        }
        table = pa.Table.from_pydict(columns, schemas.PERPLEXITY)
        tables.write(tmp_path / run / "perplexity" / "part-0.parquet", schemas.PERPLEXITY, table)
        row = dict.fromkeys(schemas.HISTORY.names) | {"arm": "clinical", "step": 9, "epoch": 1.0}
        row |= {"tokens": 900, "examples": 9, "seconds": 754.0, "peak_mib": 512.4}
        adapters[run] = tmp_path / run
        history = pa.Table.from_pylist([row], schemas.HISTORY)
        tables.write(adapters[run] / "history.parquet", schemas.HISTORY, history)
    over = {run: FITTED_OUTPUT if "encoder" in run else NEXT_TOKEN for run in NATS}
    write_adapter_metrics(tmp_path, adapters, over)
    adapted = {
        run: Adapted(base=run.split("-")[0], method=run.split("-")[1], parameters=12_345)
        for run in NATS
    }
    settings = {run: {"name": run, "pretrain": {"adapter": {"kind": run[-4:]}}} for run in NATS}
    made = entries(tmp_path, adapters, adapted, smallest_cell=10)
    return Methods("some", made, settings, Lineage(), synthetic=True, made=Making())


def test_each_base_comes_first_and_its_adapters_are_compared_with_it(methods: Methods) -> None:
    table = lines(methods.entries)
    assert [(line.base, line.method) for line in table] == [
        ("one", BASE_ALONE),
        ("one", "lora"),
        ("one", "dora"),
        ("encoder", BASE_ALONE),
        ("encoder", "lora"),
    ]
    assert table[0].likelihood.startswith(f"{np.exp(3.0):.3f} (")
    assert table[1].likelihood.startswith(f"{np.exp(2.0):.3f} (")
    ratio = f"{np.exp(-1.0):.3f}"  # the same spread with and without: it cancels
    assert table[1].ratio == f"{ratio} ({ratio} to {ratio})"
    assert table[1].apart.startswith(f"{-1.0 / 4 / np.log(2):+.3f}")
    assert (table[2].seconds, table[2].peak_mib) == ("12.6 min", "512")
    assert table[3].likelihood.startswith("3.000 ("), "an encoder has a loss, and no perplexity"
    assert (table[4].ratio, table[4].bits) == ("\u2013", "\u2013")
    assert table[4].apart == "-2.000 (-2.000 to -2.000)"


def test_the_page_tells_it_and_marks_what_was_published(methods: Methods, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    assert write_page(tmp_path / "page", methods) == []
    for form in ("html", "md"):
        page = (tmp_path / "page" / f"report.{form}").read_text()
        for words in (
            "some: domain pretraining by method",
            BASE_ALONE,
            "12,345",
            "8,388,608",
            "2.244",
            "21:37:42",
            "not comparable",
            "20 validation patients",
            "loss of masked words" if form == "md" else "Loss of masked words",
            "fitted to the base alone, and another together with the adapter",
            "pretrain.adapter.kind",
        ):
            assert words in page, (form, words)
        assert page.count("published") >= 10, "each figure of the paper says so"
        assert "report is incomplete" not in page
    headline = json.loads((tmp_path / "page" / "headline.json").read_text())
    assert [row["run"] for row in headline] == [
        "one",
        "one-lora",
        "one-dora",
        "encoder",
        "encoder-lora",
    ]
    assert [row["perplexity"] for row in headline[3:]] == ["", ""]
    assert [row["masked loss"] for row in headline] == ["", "", "", "3.000", "1.000"]
