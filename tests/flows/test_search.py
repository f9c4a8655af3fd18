"""A search as a user runs it: over the run that other tests share, killed, and to its end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.loading import load_config, load_search
from flows.study import Study
from flows.trial import measured_by
from tasks.runs import load_runs
from tests.flows.conftest import BIN, ROOT, World, api
from tests.pretrain.encoders import write_encoder

pytestmark = pytest.mark.slow

SPACE = {
    "finetune.adapter.rank": [2, 3],
    "finetune.training.clip": [1.0, 1.0e-30],  # by the latter nothing moves, which is refused
}


def written(world: World, folder: Path, **keys: Any) -> Path:
    path = folder / "search.yaml"
    search = {"preset": str(world.config), "name": "tiny-search", "member": "unfused", **keys}
    path.write_text(yaml.safe_dump(search))
    return path


def table(world: World, name: str) -> list[dict[str, Any]]:
    [folder] = (world.store.root / "searches").glob(f"{name}-*")
    return json.loads((folder / "table.json").read_text())


@pytest.fixture(scope="module")
def killed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was killed in the training of its second trial."""
    folder = tmp_path_factory.mktemp("search")
    path = written(world, folder, sampler="grid", space=SPACE, seed=2)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / "clinfuse"), "search", str(path)],
            env=world.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 240
    while "making task-adapter" not in (folder / "log").read_text().partition("- trial 1: ")[2]:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return path


def test_a_search_that_was_killed_goes_on_to_its_end(world: World, killed: Path) -> None:
    best = killed.with_name("best.yaml")
    first = (killed.with_name("log")).read_text()
    done = world.clinfuse("search", str(killed), "--out", str(best))
    said = done.stdout + done.stderr
    assert "- trial 0: finetune" in first
    assert "- trial 0: finetune" not in said  # it had ended
    both = [re.findall(r"- trial 1: (finetune.*)", log)[0] for log in (first, said)]
    assert both[0] == both[1]
    rows = table(world, "tiny-search")
    assert sorted(row["trial"] for row in rows) == [0, 1, 2, 3]
    # two trials fail by themselves, and the search goes on
    failed = [row for row in rows if row["ended"] == "failed"]
    assert [row["clip"] for row in failed] == ["1.0e-30"] * 2
    assert len(re.findall(r"trial \d failed: .*learning_rate is too small", done.stdout)) == 2
    values = [row["validation AUROC"] for row in rows[:2]]
    assert values == sorted(values, reverse=True)
    again = world.clinfuse("search", str(killed))
    assert "making" not in again.stderr + again.stdout
    assert again.stdout.splitlines()[:5] == done.stdout.splitlines()[:5]

    # the best run, as a file: its member is the one that the trial trained
    rank = rows[0]["rank"]
    assert load_config(best).finetune.adapter.rank == int(rank)  # type: ignore[union-attr]
    assert f"--set finetune.adapter.rank={rank} --set finetune.training.clip=1.0" in done.stdout


def test_a_search_reads_no_test_patient_and_trains_one_member(world: World, killed: Path) -> None:
    world.clinfuse("search", str(killed))
    trials = [run for run in load_runs(world.store.root) if run.flow == "trial"]
    reached = {artifact.kind for run in trials for artifact in run.artifacts}
    assert "task-adapter" in reached
    assert not reached & {"predictions", "metrics", "report", "clinical-adapter"}


def test_prefect_shows_the_trials_and_their_table(world: World, killed: Path) -> None:
    world.clinfuse("search", str(killed))
    flows = {each["name"]: each["id"] for each in api(world, "/flows/filter", {})}
    runs = api(world, "/flow_runs/filter", {"flows": {"id": {"any_": [flows["trial"]]}}})
    assert all(run["parent_task_run_id"] for run in runs)
    assert any(
        re.match(r"search, trial 0, finetune\.adapter\.rank=\d", run["name"]) for run in runs
    )
    shown = api(world, "/artifacts/filter", {"artifacts": {"type": {"any_": ["table"]}}})
    [last, *_] = [each for each in shown if each["key"].endswith("-trials")]
    assert len(json.loads(last["data"])) == 4
    assert "on validation patients" in last["description"]


def test_a_trial_that_others_leave_behind_is_pruned_within_its_training(
    world: World, tmp_path: Path
) -> None:
    """Its ranks end, and the trial with them; the search does not."""
    space = {"finetune.adapter.rank": [5]}
    path = written(
        world, tmp_path, name="pruned", space=space, trials=6, finetune={"epochs": 2}, seed=1
    )
    with Study.opened(world.store, load_search(path)) as study:
        for _ in range(5):
            trial = study.ask()
            assert trial
            study.tell(trial, 0.99, [(50, 0.99), (100, 0.99)])
    done = world.clinfuse("search", str(path))
    rows = table(world, "pruned")
    assert [row["ended"] for row in rows] == [""] * 5 + ["pruned at 50%"]
    assert "given up at 50% of its training" in done.stdout + done.stderr
    assert rows[-1]["validation AUROC"] < 0.99


def test_a_search_by_perplexity_finetunes_nothing(world: World, tmp_path: Path) -> None:
    space = {"pretrain.adapter.rank": [4], "pretrain.adapter.alpha": [4, 8]}
    keys = {"sampler": "grid", "stage": "pretrain", "member": None}
    path = written(world, tmp_path, name="by-perplexity", space=space, **keys)
    world.clinfuse("search", str(path))
    rows = table(world, "by-perplexity")
    assert len(rows) == 2
    assert rows[0]["perplexity"] < rows[1]["perplexity"]
    last = [run for run in load_runs(world.store.root) if run.flow == "trial"][-2:]
    assert {each.kind for run in last for each in run.artifacts} >= {"perplexity"}
    assert not any(each.kind == "task-adapter" for run in last for each in run.artifacts)


def test_a_search_on_an_encoder_is_by_the_loss_of_masked_words(
    world: World, tmp_path: Path
) -> None:
    base = {"kind": "path", "path": str(write_encoder(tmp_path / "base", with_output=False))}
    keys = {"space": {"pretrain.adapter.rank": [4]}, "stage": "pretrain", "member": None}
    for pretrain, words in (({}, "perplexity"), ({"base": base}, "masked-word loss")):
        path = written(world, tmp_path, **keys, pretrain=pretrain)
        assert measured_by(load_search(path)) == words


def test_a_key_that_is_wrong_is_said_at_once(world: World, tmp_path: Path) -> None:
    path = written(world, tmp_path, space={"finetune.adapter.rnak": [2]})
    done = world.clinfuse("search", str(path), check=False)
    assert done.returncode == 1
    assert "did you mean 'rank'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
