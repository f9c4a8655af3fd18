"""The chain as a user runs it: once, again, one stage, and after something was lost."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tasks.runs import load_runs
from tests.flows.conftest import ROOT, World


def made_kinds(world: World) -> list[str]:
    """The kinds that the last run made."""
    return [each.kind for each in load_runs(world.store.root)[-1].artifacts if each.how == "made"]


def newest(world: World, kind: str, count: str = "") -> Path:
    """Where the last artifact of a kind lies, of those that have this count."""
    found = [each for each in world.store.manifests() if each.kind == kind]
    chosen = next(each for each in reversed(found) if not count or count in each.counts)
    return world.store.path(kind, chosen.key)


def of_first_run(world: World, kind: str) -> list[Path]:
    """Where the artifacts of a kind lie that the first run made, whatever ran after it."""
    reached = load_runs(world.store.root)[0].artifacts
    return [world.store.path(kind, each.key) for each in reached if each.kind == kind]


def test_the_first_run_makes_every_artifact_and_prints_where_they_lie(world: World) -> None:
    printed = (world.folder / "first-run.out").read_text()
    first = load_runs(world.store.root)[0]
    kinds = {reached.kind for reached in first.artifacts}
    assert kinds == {
        "notes", "splits", "cohort", "outcome", "quality", "guard", "tokenizer", "base", "corpus",
        "clinical-adapter", "tokenized", "perplexity", "encoded", "task-adapter", "predictions",
        "evidence", "metrics", "report",
    }  # fmt: skip
    assert {reached.how for reached in first.artifacts} == {"made"}
    assert "report.html" in printed
    assert re.search(r"at most [\d,]+ MiB in any process", printed)


def test_a_second_run_executes_no_step(world: World) -> None:
    done = world.clinfuse("run", str(world.config))
    assert made_kinds(world) == []
    assert ", 0 made," in done.stdout


def test_one_key_changed_makes_only_what_follows(world: World) -> None:
    world.clinfuse("run", str(world.config), "--set", "evaluate.smallest_cell=7")
    assert made_kinds(world) == ["metrics", "report"]


def test_every_adapter_names_the_base_that_it_is_of(world: World) -> None:
    adapters = [*of_first_run(world, "clinical-adapter"), *of_first_run(world, "task-adapter")]
    names = {
        json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
        for adapter in adapters
    }
    (base,) = of_first_run(world, "base")
    assert len(adapters) > 1
    assert names == {f"base/{base.name}"}


def test_another_member_trains_nothing_but_itself(world: World) -> None:
    third = "{name: learning-on, summands: [{adapter: clinical, fusion: trained}]}"
    world.clinfuse("run", str(world.config), "--set", f"finetune.members=[fused, unfused, {third}]")
    alone_and_stacked = ["predictions", "predictions"]
    assert made_kinds(world) == ["task-adapter", *alone_and_stacked, "metrics", "report"]
    page = newest(world, "report") / "report.html"
    assert "learning-on" in page.read_text()


def test_gates_and_merges_are_in_the_tables(world: World) -> None:
    members = [
        "{name: gated, summands: [{adapter: clinical, fusion: gated}]}",
        "{name: fused, merges: [cat], summands: [{adapter: clinical}]}",
    ]
    world.clinfuse("run", str(world.config), "--set", f"finetune.members=[{', '.join(members)}]")
    rows = pq.read_table(newest(world, "metrics") / "metrics.parquet").to_pylist()
    fused, as_one = (
        {
            (row["outcome"], row["code_system"]): row["value"]
            for row in rows
            if (row["metric"], row["group"], row["variant"]) == ("auroc_macro", "all", variant)
        }
        for variant in ("fused", "fused-cat")
    )
    assert as_one == pytest.approx(fused, abs=1e-4)
    page = (newest(world, "report") / "report.md").read_text()
    assert re.search(r"gated: the clinical adapter is added 0\.\d\d times, the mean of", page)
    assert "its adapters as one (cat)" in page


def test_a_report_made_later_tells_what_reused_models_cost(world: World) -> None:
    """Its key has changed, TF-IDF's has not: that took no time in this run, and some in its own."""
    tfidf = newest(world, "predictions", "admissions_to_learn_from")
    took = world.store.manifest("predictions", tfidf.name).seconds  # type: ignore[union-attr]
    text = (newest(world, "report") / "report.md").read_text()
    row = re.search(r"\| TF-IDF \| ([\d.,]+) \|", text)
    assert row
    assert float(row[1]) == pytest.approx(took, abs=0.51)
    assert float(row[1]) > 0


def test_the_same_run_over_a_preset_is_the_same_run(world: World, tmp_path: Path) -> None:
    above = tmp_path / "above.yaml"
    above.write_text(yaml.safe_dump({"preset": str(world.config)}))
    done = world.clinfuse("run", str(above), "--set", "audit.terms=3")
    assert made_kinds(world) == []
    assert ", 0 made," in done.stdout


def test_a_stage_is_made_anew_and_equal_bytes_rerun_nothing_after_it(world: World) -> None:
    world.clinfuse("run", str(world.config), "--refresh", "ingest")
    assert set(made_kinds(world)) == {"notes", "splits", "cohort", "outcome", "quality", "guard"}


def test_a_deleted_artifact_is_made_again(world: World) -> None:
    cohort = next(each for each in world.store.manifests() if each.kind == "cohort")
    shutil.rmtree(world.store.path("cohort", cohort.key))
    world.clinfuse("run", str(world.config))
    assert made_kinds(world) == ["cohort"]


def test_what_is_missing_is_refused_in_one_sentence(world: World) -> None:
    done = world.clinfuse(
        "run", str(world.config), "--stage", "evaluate", "--no-make-missing",
        "--set", "ingest.split.key=another", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "make_missing is false" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_ls_show_lineage_verify_and_gc(world: World) -> None:
    listed = world.clinfuse("ls").stdout
    report = next(each for each in reversed(world.store.manifests()) if each.kind == "report")
    assert report.key in listed
    shown = json.loads(world.clinfuse("show", report.key).stdout)
    assert shown["files"][0]["sha256"]
    drawn = world.clinfuse("lineage", report.key).stdout
    assert "metrics/" in drawn
    assert "notes/" in drawn
    assert ", 0 damaged files" in world.clinfuse("verify").stdout
    told = world.clinfuse("gc", "--keep-runs", "20", "--older-than", "0").stdout
    assert "nothing deleted" in told
    assert report.key not in told


def test_the_report_has_the_arms_side_by_side(world: World) -> None:
    (folder,) = of_first_run(world, "report")
    text = (folder / "report.md").read_text()
    for word in ("fused", "unfused", "TF-IDF", "95%"):
        assert word in text
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']https?://""", page), (
        "the page asks for something outside"
    )


def test_no_part_of_the_report_is_missing(world: World) -> None:
    (folder,) = of_first_run(world, "report")
    manifest = world.store.manifest("report", folder.name)
    assert manifest
    assert "parts_missing" not in manifest.counts
    for name in ("report.html", "report.md", "model-card.md", "tripod-ai.md"):
        text = (folder / name).read_text()
        assert "could not be made" not in text
    assert "Synthetic patients" in (folder / "report.html").read_text()


def test_every_metric_row_says_what_it_is(world: World) -> None:
    (folder,) = of_first_run(world, "metrics")
    table = pq.read_table(folder / "metrics.parquet").to_pylist()
    macro = [row for row in table if row["metric"] == "auroc_macro" and row["group"] == "all"]
    assert {"fused", "unfused", "tfidf", "p_best"} <= {row["variant"] for row in macro}
    for row in macro:
        assert row["split"] == "test"
        assert 0 <= row["value"] <= 1


def test_zeroing_either_adapter_changes_every_outcomes_logits(world: World) -> None:
    """The fusion is real: neither adapter is decoration, also as saved and read back."""
    folders = [folder / "fused" for folder in of_first_run(world, "predictions")]
    (found,) = [folder for folder in folders if folder.exists()]
    for outcome in ("diagnoses", "procedures", "mortality"):
        fused = pq.read_table(found / outcome / "test.parquet")["logits"].to_pylist()
        for zeroed in ("fused-without-clinical", "fused-without-task"):
            path = found.with_name(zeroed) / outcome / "test.parquet"
            other = pq.read_table(path)["logits"].to_pylist()
            assert np.abs(np.array(fused) - np.array(other)).max() > 1e-4, (outcome, zeroed)


@pytest.mark.parametrize("module", ["flows.stages", "flows.cli", "flows.check"])
def test_the_flow_process_does_not_import_torch(module: str) -> None:
    program = f"import sys, {module}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_a_cached_chain_and_ls_import_neither_torch_nor_prefect(world: World) -> None:
    program = (
        "import sys; from flows.run import run; from pathlib import Path;"
        f"run('adapt', Path({str(world.config)!r}), overrides=[],"
        f" store=Path({str(world.store.root)!r}));"
        "print('torch:', 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=world.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "torch: False" in done.stdout
    program = (
        "import sys; sys.argv = ['clinfuse', 'ls']; from flows.cli import app;"
        "app(standalone_mode=False); print('prefect:', 'prefect' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=world.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "prefect: False" in done.stdout
