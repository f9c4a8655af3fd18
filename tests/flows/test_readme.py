"""The README's commands, targets, files and keys are those that the project has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from flows.cli import app
from flows.config import AdaptConfig
from tasks import schemas, tables
from tasks.metrics_table import to_table
from tests.config_keys import is_key

ROOT = Path(__file__).parents[2]
PAGES = ("", "configs", "infra", "tasks/ingest", "tasks/model", "tests/bench")
README = "\n".join((ROOT / page / "README.md").read_text() for page in PAGES)
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [
    command.strip()
    for block in BLOCKS
    for line in block.splitlines()
    for command in line.split("#")[0].split("&&")
]
COMMANDS = [line for line in LINES if line.startswith("clinfuse ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_takes_what_the_readme_gives_it(line: str) -> None:
    """Parsed as the command line would be, with its types, and not run."""
    root = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    command = root.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments, resilient_parsing=False).close()


def test_the_readme_shows_commands_at_all() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert {"synth", "run", "ls", "show", "lineage", "verify", "gc"} <= shown


def test_the_pages_that_it_links_exist() -> None:
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", (ROOT / "README.md").read_text())
    assert {f"{page}/README.md" for page in PAGES if page} <= set(linked)
    assert not [page for page in linked if not (ROOT / page).exists()]


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test", "lint", "bench"} <= named
    assert named <= targets


def test_the_files_that_it_names_exist() -> None:
    named = set(re.findall(r"(?:configs|infra|tasks|flows|tests)/[\w./-]*\.[a-z]+", README))
    made_by_the_user = {"configs/mine.yaml"}
    missing = [name for name in named - made_by_the_user if not (ROOT / name).exists()]
    assert len(named) > 5
    assert not missing


def test_the_keys_that_it_names_exist() -> None:
    stages = "ingest|pretrain|finetune|evaluate|launch"
    named = set(re.findall(rf"(?<![\w/])((?:{stages})(?:\.[a-z_]+)+)", README))
    assert "ingest.max_reject_share" in named
    unknown = [key for key in named if not is_key(AdaptConfig, key)]
    assert not unknown


@pytest.mark.parametrize("tool", ["duckdb", "pd"])
def test_the_question_to_the_metrics_is_answered(tool: str, tmp_path: Path) -> None:
    """As the README has it, over the metrics of two runs and what lies beside them."""
    for seed, run in enumerate(["one", "two"]):
        rows = [_metric("I50", "auroc", 0.7 + seed / 10), _metric("I50", "average_precision", 0.2)]
        rows += [_metric("I48", "auroc", 0.6), _metric(None, "auroc_macro", 0.65)]
        place = tmp_path / "metrics" / f"{seed:016}"
        tables.write(place / "metrics.parquet", schemas.METRICS, to_table(rows, run=run, seed=seed))
        tables.write(place / "curves.parquet", schemas.CURVES, schemas.CURVES.empty_table())
    [(imports, lines)] = re.findall(r"```python\n(.*?)\n\n(duckdb.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(imports, names)
    [line] = [line for line in lines.splitlines() if line.startswith(f"{tool}.")]
    found = eval(line.replace("STORE", str(tmp_path)), names)
    answer = found.df() if tool == "duckdb" else found
    answer = answer.sort_values("run")
    assert answer["run"].tolist() == ["one", "two"]
    assert answer["seed"].tolist() == [0, 1]
    assert answer["value"].tolist() == pytest.approx([0.7, 0.8])
    assert {"variant", "low", "high", "n_patients"} <= set(answer)


def _metric(code: str | None, metric: str, value: float) -> dict[str, object]:
    return {
        "variant": "fused",
        "outcome": "diagnoses",
        "code_system": "icd10cm",
        "code": code,
        "metric": metric,
        "method": "a method",
        "value": value,
        "n": 100,
        "n_patients": 80,
        "positives": 30,
    }
