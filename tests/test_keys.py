"""A key follows what decides an artifact's bytes, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.config import Config, Unkeyed
from tasks.errors import ConfigError
from tasks.keys import Artifact, inputs_of, key_of


class Learning(Config):
    rate: float = 0.1
    names: tuple[str, ...] = ("a", "b")
    file: Path | None = None


class Ranks(Unkeyed):
    ranks: int = 1


def key(tmp_path: Path, **arguments: object) -> str:
    return key_of("kind", 1, arguments, tmp_path / "memo")


def test_a_key_changes_with_kind_version_config_and_inputs(tmp_path: Path) -> None:
    made = Artifact("notes", "k", "digest")
    arguments = {"config": Learning(), "notes": made}
    memo = tmp_path / "memo"
    keys = [
        key_of("kind", 1, arguments, memo),
        key_of("other", 1, arguments, memo),
        key_of("kind", 2, arguments, memo),
        key_of("kind", 1, arguments | {"config": Learning(rate=0.2)}, memo),
        key_of("kind", 1, arguments | {"notes": Artifact("notes", "k", "other")}, memo),
    ]
    assert len(set(keys)) == len(keys)


def test_an_input_counts_by_its_digest_not_by_its_key(tmp_path: Path) -> None:
    one, other = Artifact("notes", "k1", "same"), Artifact("notes", "k2", "same", {"rows": 1})
    assert key(tmp_path, notes=one) == key(tmp_path, notes=other)


def test_how_a_step_runs_is_not_in_the_key(tmp_path: Path) -> None:
    assert key(tmp_path, a=1, launch=Ranks(ranks=1)) == key(tmp_path, a=1, launch=Ranks(ranks=8))


def test_a_file_counts_by_content_not_by_name_or_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("same")
    other.write_text("same")
    os.utime(other, (1, 1))
    before = key(tmp_path, config=Learning(file=one))
    assert before == key(tmp_path, config=Learning(file=other))
    one.write_text("else")
    assert key(tmp_path, config=Learning(file=one)) != before


def test_a_folder_counts_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = key(tmp_path, base=folder)
    (folder / "b").write_text("2")
    assert key(tmp_path, base=folder) != before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone is not there"):
        key(tmp_path, base=tmp_path / "gone")


def test_keys_are_equal_between_processes(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tests.test_keys import *;"
        f"print(key(Path({str(tmp_path)!r}), config=Learning(), text='x', pair=(1, None)))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


def test_what_has_no_stable_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set"):
        key(tmp_path, names={"a", "b"})


def test_inputs_are_found_inside_tuples_and_mappings() -> None:
    one, other = Artifact("a", "1", "x"), Artifact("b", "2", "y")
    assert inputs_of({"notes": (one,), "more": {"b": other}, "n": 1}) == [one, other]
