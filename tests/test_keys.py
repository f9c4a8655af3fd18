"""A key follows what decides an artifact's bytes, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import keys
from tasks.config import Config, Unkeyed
from tasks.errors import ConfigError
from tasks.keys import Artifact, describe, inputs_of, key_of


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


class Shape(Config):
    width: int = 1
    depth: int = 1


class Grown(Config):
    """`Learning`, some versions later."""

    rate: float = 0.1
    names: tuple[str, ...] = ("a", "b")
    file: Path | None = None
    steps: int = 5
    shape: Shape = Shape(width=3)


class Wide(Config):
    kind: Literal["wide"] = "wide"
    size: int = 1


class Tall(Config):
    kind: Literal["tall"] = "tall"
    size: int = 1


def test_a_new_field_with_a_default_changes_no_key(tmp_path: Path) -> None:
    assert key(tmp_path, config=Grown()) == key(tmp_path, config=Learning())
    assert key(tmp_path, config=Grown(rate=1)) == key(tmp_path, config=Learning(rate=1))
    assert key(tmp_path, config=Grown(steps=6)) != key(tmp_path, config=Learning())


def test_a_default_that_is_given_is_a_default(tmp_path: Path) -> None:
    given = Grown(rate=0.1, names=("a", "b"), shape=Shape(width=3))
    assert key(tmp_path, config=given) == key(tmp_path, config=Grown())


def test_a_models_default_and_that_of_the_field_that_holds_it_differ(tmp_path: Path) -> None:
    shapes = [Shape(), Shape(width=3), Shape(width=3, depth=2), Shape(depth=2)]
    assert len({key(tmp_path, config=Grown(shape=shape)) for shape in shapes}) == len(shapes)


def test_models_of_a_union_differ_though_all_is_default(tmp_path: Path) -> None:
    assert key(tmp_path, config=Wide()) != key(tmp_path, config=Tall())


VALUES = {
    "rate": st.sampled_from([0.1, 0.2]),
    "names": st.sampled_from([("a", "b"), ("a",), ()]),
    "steps": st.integers(4, 6),
    "shape": st.builds(Shape, width=st.integers(1, 3), depth=st.integers(1, 2)),
}
GROWN = st.builds(Grown, **VALUES)


@given(one=GROWN, other=GROWN)
def test_keys_are_equal_where_configs_are_and_nowhere_else(one: Grown, other: Grown) -> None:
    keys = [key_of("kind", 1, {"config": config}, Path("memo")) for config in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_a_manifest_tells_of_defaults_too(tmp_path: Path) -> None:
    assert describe(Shape(depth=2), tmp_path) == {"width": 1, "depth": 2}


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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "onnx" / "weights").write_text("w")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        ".cache/huggingface/download/config.json.metadata",
        ".git/index",
        ".gitattributes",
        "onnx/.DS_Store",
        "__pycache__/a.pyc",
    ],
)
def test_what_tools_leave_in_a_downloaded_folder_does_not_count(
    tmp_path: Path, model: Path, name: str
) -> None:
    before = key(tmp_path, base=model)
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_text("2026-01-01")
    assert key(tmp_path, base=model) == before


def test_a_folder_within_a_hidden_folder_counts_by_its_files(tmp_path: Path, model: Path) -> None:
    """A snapshot of the Hugging Face cache lies in ~/.cache; its files are links into it."""
    hidden = tmp_path / ".cache" / "snapshot"
    hidden.parent.mkdir()
    shutil.copytree(model, hidden)
    (hidden / "config.json").unlink()
    (hidden / "config.json").symlink_to(model / "config.json")
    assert key(tmp_path, base=hidden) == key(tmp_path, base=model)
    (model / "config.json").write_text("[]")
    assert key(tmp_path, base=hidden) == key(tmp_path, base=model)
    (hidden / "onnx" / "weights").write_text("v")
    assert key(tmp_path, base=hidden) != key(tmp_path, base=model)


def settle(*paths: Path) -> None:
    """Wait until a file was last touched long enough ago for its hash to be remembered."""
    newest = max(path.stat().st_ctime for path in paths)
    time.sleep(max(0.0, newest + 2.1 - time.time()))


@pytest.mark.parametrize("memo", [True, False], ids=["in a folder", "in a process"])
def test_a_hash_is_remembered_until_the_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memo: bool
) -> None:
    path = tmp_path / "weights"
    path.write_text("right")
    settle(path)
    hashes = keys.Hashes(tmp_path / "memo" if memo else None)
    before = hashes.sha256(path)
    with monkeypatch.context() as patched:
        patched.setattr(keys, "sha256_of", lambda path: pytest.fail("hashed again"))
        assert hashes.sha256(path) == before
    status = path.stat()
    path.write_text("wrong")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had happened
    assert hashes.sha256(path) == keys.sha256_of(path) != before
    path.write_text("right")
    assert hashes.sha256(path) == before


def test_a_file_written_this_moment_is_not_remembered(tmp_path: Path) -> None:
    """Two writes within a tick of the clock leave the same times and size."""
    path, hashes = tmp_path / "weights", keys.Hashes(tmp_path / "memo")
    for text in ("a", "b") * 200:
        path.write_text(text)
        assert hashes.sha256(path) == hashlib.sha256(text.encode()).hexdigest()


def test_a_memo_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("w")
    settle(path)
    (tmp_path / "memo").write_text("a file in its place")
    assert keys.Hashes(tmp_path / "memo").sha256(path) == keys.sha256_of(path)
