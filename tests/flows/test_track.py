"""What a run leaves for TensorBoard, and the commands that it runs when it has ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from flows.check import check_hooks, check_tracker
from flows.compare import compare
from flows.config import TrackConfig
from flows.hooks import HOOKS
from flows.loading import load_config
from flows.score import score
from flows.search import search
from flows.stages import FLOWS
from tasks.errors import ConfigError
from tasks.hooks import HooksConfig, call
from tasks.runs import load_runs
from tests.flows.conftest import ROOT, World
from tests.flows.planted import WORDS, identifiers
from tests.flows.test_chain import made_kinds, of_first_run
from tests.flows.test_run_page import artifacts_of

KEEP = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("CLINFUSE_")}
with open(sys.argv[1], "w") as file:
    json.dump(told, file)
sys.exit(int(sys.argv[2]))
"""


def keeper(out: Path, status: int = 0) -> list[str]:
    """A command that writes down what it is told."""
    return [sys.executable, "-c", KEEP, str(out), str(status)]


@pytest.fixture(scope="module")
def tracked(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that tracks and has hooks; all that it comes to is there already."""
    folder = tmp_path_factory.mktemp("tracked")
    above = {
        "preset": str(world.config),
        "track": {"tensorboard": str(folder / "board")},
        "hooks": {
            "on_completion": keeper(folder / "completed.json", status=3),
            "on_failure": keeper(folder / "failed.json"),
        },
    }
    (folder / "tracked.yaml").write_text(yaml.safe_dump(above))
    done = world.clinfuse("run", str(folder / "tracked.yaml"))
    (folder / "run.err").write_text(done.stderr)
    return folder


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads in a folder: tag -> steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def near(points: list[tuple[int, float]]) -> Any:
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in points]  # float32 in the file


def test_tracking_and_hooks_remake_nothing(world: World, tracked: Path) -> None:
    assert made_kinds(world) == []


def test_a_run_tells_which_run_made_what_it_reused(world: World, tracked: Path) -> None:
    runs = load_runs(world.store.root)
    told = json.loads((tracked / "completed.json").read_text())["CLINFUSE_RUN"]
    found = artifacts_of(world, told)["tiny-artifacts"]
    rows = json.loads(found["data"])
    assert {row["made by"] for row in rows} <= {run.name for run in runs}
    assert rows[0]["made by"] == runs[0].name
    assert f"by {runs[0].name}" in found["description"]
    assert "this run" not in found["description"]


def test_tensorboard_reads_the_histories_of_reused_trainings(world: World, tracked: Path) -> None:
    trainings = [
        path
        for kind in ("base", "clinical-adapter", "task-adapter")
        for path in of_first_run(world, kind)
    ]
    assert len(trainings) >= 4
    for path in trainings:
        rows = pq.read_table(path / "history.parquet").to_pylist()
        kind, arm = path.parent.name, rows[0]["arm"]
        shown = scalars(tracked / "board" / "tiny" / kind / f"{arm}-{path.name[:8]}")
        columns = {"loss": "train/loss", "learning_rate": "train/learning_rate"}
        if any(row["validation"] is not None for row in rows):
            assert kind == "task-adapter"
            columns["validation"] = "validation/auroc_macro"
        for column, tag in columns.items():
            expected = [(row["step"], row[column]) for row in rows if row[column] is not None]
            assert shown[tag] == near(expected)
        assert len(shown["train/tokens_per_second"]) > 1
        assert min(value for _, value in shown["train/tokens_per_second"]) > 0


def test_tensorboard_reads_what_each_model_came_to(world: World, tracked: Path) -> None:
    (report,) = of_first_run(world, "report")
    rows = json.loads((report / "headline.json").read_text())
    board = tracked / "board" / "tiny" / "report"
    variants = {row["variant"] for row in rows}
    assert {"fused", "unfused", "tfidf"} <= variants
    assert {path.name for path in board.iterdir()} == {
        f"{variant}-{report.name[:8]}" for variant in variants
    }
    (value,) = [
        row["macro AUROC"]
        for row in rows
        if (row["variant"], row["outcome"]) == ("fused", "mortality")
    ]
    shown = scalars(board / f"fused-{report.name[:8]}")
    (tag,) = [tag for tag in shown if tag.startswith("test/macro_AUROC/mortality")]
    assert shown[tag] == near([(0, value)])


def test_what_is_tracked_holds_no_text_and_no_identifier(world: World, tracked: Path) -> None:
    files = [path for path in tracked.rglob("*") if path.is_file() and path.name != "tracked.yaml"]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        for word in (*WORDS, *identifiers(world.source)):
            assert word.encode() not in content, path


def test_a_hook_is_told_of_the_run_and_its_report(world: World, tracked: Path) -> None:
    told = json.loads((tracked / "completed.json").read_text())
    run = load_runs(world.store.root)[-1]
    assert (told["CLINFUSE_RUN"], told["CLINFUSE_RUN_NAME"]) == (run.id, run.name)
    assert (told["CLINFUSE_FLOW"], told["CLINFUSE_NAME"]) == ("adapt", "tiny")
    assert told["CLINFUSE_STATE"] == "Completed"
    assert "AUROC" in Path(told["CLINFUSE_REPORT"]).read_text()
    assert json.loads(Path(told["CLINFUSE_RESULTS"]).read_text())[0]["macro AUROC"] > 0
    assert not (tracked / "failed.json").exists()


def test_a_hook_that_fails_is_a_warning(tracked: Path) -> None:
    (line,) = [x for x in (tracked / "run.err").read_text().splitlines() if "hooks." in x]
    assert "WARNING" in line
    assert "the command of hooks.on_completion" in line
    assert "ended with exit status 3" in line


def test_a_hook_is_told_why_a_run_failed(world: World, tracked: Path) -> None:
    sets = ["--set", "evaluate.smallest_cell=8", "--stage", "evaluate", "--no-make-missing"]
    sets += ["--set", "finetune.epochs=3"]
    done = world.clinfuse("run", str(tracked / "tracked.yaml"), *sets, check=False)
    told = json.loads((tracked / "failed.json").read_text())
    sentence = "is missing and make_missing is false"
    assert done.returncode != 0
    assert sentence in done.stderr
    assert told["CLINFUSE_STATE"] == "Failed"
    assert sentence in told["CLINFUSE_MESSAGE"]
    assert "CLINFUSE_REPORT" not in told


@pytest.mark.parametrize("flow", [*FLOWS, compare, search, score], ids=lambda flow: flow.name)
def test_every_flow_has_hooks(flow: Any) -> None:
    for name, functions in HOOKS.items():
        assert getattr(flow, f"{name}_hooks") == functions


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("/nowhere/program",), "could not be started (No such file or directory)"),
        (("sh", "-c", "sleep 60 & wait"), "took longer than 0.2 s"),
        (("false",), "ended with exit status 1"),
        (("true",), ""),
    ],
)
def test_a_command_comes_to_an_end(command: tuple[str, ...], problem: str) -> None:
    assert call(command, {}, 0.2).startswith(problem)
    assert bool(call(command, {}, 0.2)) == bool(problem)


def test_a_run_form_cannot_name_a_program() -> None:
    with pytest.raises(ConfigError, match=r"^--set hooks.on_failure=\[sh\]: commands are read"):
        load_config(ROOT / "configs" / "demo.yaml", ["hooks.on_failure=[sh]"])


def test_what_cannot_be_run_or_written_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^'hooks\.on_failure': there is no program no-such"):
        check_hooks(HooksConfig(on_failure=("no-such-program",)))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^'track\.tensorboard': .*/file is a file; name a"):
        check_tracker(TrackConfig(tensorboard=tmp_path / "file"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_tracker(TrackConfig())
    with pytest.raises(ConfigError, match=r"pip install 'clinfuse\[tensorboard\]'"):
        check_tracker(TrackConfig(tensorboard=tmp_path))
