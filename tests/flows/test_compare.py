"""A comparison as a user runs it: two runs, two seeds, one leaderboard."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tasks.runs import load_runs
from tests.flows.conftest import World


@pytest.fixture(scope="module")
def compared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a comparison that was run once.

    Seed 0 is what the world's run has trained already, and the second run differs in TF-IDF only:
    of four finetunings one is left to do.
    """
    path = tmp_path_factory.mktemp("compare") / "compare.yaml"
    runs = [
        {"preset": str(world.config), "name": "one"},
        {"preset": str(world.config), "name": "two", "baselines": {"tfidf": {"max_features": 60}}},
    ]
    path.write_text(yaml.safe_dump({"name": "both", "seeds": [0, 1], "runs": runs}))
    world.clinfuse("compare", str(path))
    return path


def test_what_the_runs_share_is_made_once(world: World, compared: Path) -> None:
    reached = load_runs(world.store.root)[-1].artifacts
    made = Counter(each.kind for each in reached if each.how == "made")
    # seed 1: two members and their predictions; TF-IDF of run two, which no seed changes; each
    # member stacked with it, but those of run one and seed 0, which are there
    assert made == {"task-adapter": 2, "predictions": 9, "standings": 1, "leaderboard": 1}


def test_every_model_stands_with_its_seeds(world: World, compared: Path) -> None:
    rows = pq.read_table(_folder(world, "standings") / "metrics.parquet").to_pylist()
    seeds = {
        (row["run"], row["variant"], row["seed"]) for row in rows if row["metric"] == "auroc_macro"
    }
    for run in ("one", "two"):
        for variant in ("fused", "unfused"):
            assert {(run, variant, seed) for seed in (None, 0, 1)} <= seeds
        assert (run, "tfidf", None) in seeds  # deterministic: no seed of its own
        assert (run, "tfidf", 1) not in seeds
    assert not any("without" in row["variant"] for row in rows)
    headline = json.loads((_folder(world) / "headline.json").read_text())
    names = {line["model"] for line in headline}
    stacks = {name for name in names if name.endswith("+tfidf")}
    assert names - stacks == {"one/fused", "one/unfused", "one/tfidf", "two/tfidf"}
    assert {"one/fused+tfidf", "one/unfused+tfidf"} <= stacks


def test_the_page_says_what_differs_and_prefect_links_to_it(world: World, compared: Path) -> None:
    page = (_folder(world) / "report.html").read_text()
    assert "baselines.tfidf.max_features" in page
    assert "the same predictions: two/fused" in page
    done = world.clinfuse("compare", str(compared))
    assert ", 0 made," in done.stdout
    assert str(_folder(world) / "report.html") in done.stdout


def test_adapters_are_compared_without_finetuning(world: World, tmp_path: Path) -> None:
    path = tmp_path / "methods.yaml"
    dora = {"kind": "dora", "rank": 2, "targets": ["q_proj"]}
    runs = [
        {"preset": str(world.config), "name": "one-lora"},  # which the world's run has trained
        {"preset": str(world.config), "name": "one-dora", "pretrain": {"adapter": dora}},
    ]
    path.write_text(yaml.safe_dump({"name": "methods", "stage": "pretrain", "runs": runs}))
    done = world.clinfuse("compare", str(path))
    reached = load_runs(world.store.root)[-1].artifacts
    made = Counter(each.kind for each in reached if each.how == "made")
    expected = ("clinical-adapter", "perplexity", "adapter-metrics", "leaderboard")
    assert made == dict.fromkeys(expected, 1)
    assert not any(each.kind in ("task-adapter", "predictions") for each in reached)
    headline = json.loads((_folder(world) / "headline.json").read_text())
    assert [row["run"] for row in headline] == ["scratch, 1 x 32", "one-lora", "one-dora"]
    assert all(float(row["perplexity"]) < float(headline[0]["perplexity"]) for row in headline[1:])
    assert "one-dora" in done.stdout


def _folder(world: World, kind: str = "leaderboard") -> Path:
    keys = [manifest.key for manifest in world.store.manifests() if manifest.kind == kind]
    return world.store.path(kind, keys[-1])
