"""The README's commands, targets, files and keys are those that the project has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from flows.cli import app
from flows.config import AdaptConfig, _models_in

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
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
    unknown = [key for key in named if not _is_key(AdaptConfig, key.split("."))]
    assert not unknown


def _is_key(model: type[BaseModel], parts: list[str]) -> bool:
    field = model.model_fields.get(parts[0])
    if field is None or len(parts) == 1:
        return field is not None
    return any(_is_key(inner, parts[1:]) for inner in _models_in(field.annotation))
