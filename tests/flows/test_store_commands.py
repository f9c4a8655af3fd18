"""ls, du, show, lineage, verify and gc: on a store that cannot be written, and on what is none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import cli
from tasks import garbage, inspection, printable  # noqa: F401 (another user may not import them)
from tasks.errors import StoreError
from tasks.store import MANIFEST, Store
from tests.test_store import FACTS

ESCAPES = "\x1b[2J\x1b]0;owned\x07 \u202etxt.exe \x9b31m\r\nnext"
COMMANDS = (["ls"], ["du"], ["show", "k"], ["lineage", "k"], ["verify"], ["gc"])
commands = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])


def clinfuse(store: Path, *command: str) -> Result:
    return CliRunner().invoke(cli.app, [*command, "--store", str(store)])


def make(store: Store, key: str = "k", **facts: Any) -> Path:
    out = store.fresh("notes", key)
    (out / "part").write_text("x")
    store.commit(out, {**FACTS, "kind": "notes", "key": key, **facts})
    return store.path("notes", key)


def seal(path: Path, **changes: Any) -> None:
    """Change a manifest as somebody would who can write into the store."""
    fields = json.loads(path.read_text()) | changes | {"checksum": None}
    path.write_text(json.dumps(fields))


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    """Everything below a folder, and when it was changed."""
    found = [(path, path.lstat()) for path in (folder, *sorted(folder.rglob("*")))]
    return [(str(path), status.st_mode, status.st_ctime_ns) for path, status in found]


@commands
def test_looking_into_a_store_changes_nothing_in_it(store: Store, command: list[str]) -> None:
    make(store)
    shutil.rmtree(store.root / ".making")
    before = snapshot(store.root)
    assert clinfuse(store.root, *command).exit_code == 0
    assert snapshot(store.root) == before


@commands
def test_a_store_that_cannot_be_written_can_be_looked_into(
    store: Store, command: list[str]
) -> None:
    make(store)
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o500)
    try:
        done = _as_nobody(store.root, command)
    finally:
        for path in folders:
            path.chmod(0o700)
    assert done == 0


def _as_nobody(root: Path, command: list[str]) -> int:
    """The command's exit code, of a user for whom modes count, who owns the store."""
    if os.getuid() != 0:
        return clinfuse(root, *command).exit_code
    for path in (root, *root.rglob("*")):
        os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(root)
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(clinfuse(Path("."), *command).exit_code)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@commands
@pytest.mark.parametrize("folder", ["/etc", "home", "empty", "missing"])
def test_what_is_no_store_is_said_to_be_none(
    tmp_path: Path, command: list[str], folder: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "home" / ".config").mkdir(parents=True)
    before = snapshot(tmp_path)
    done = clinfuse(tmp_path / folder, *command)
    assert isinstance(done.exception, StoreError)
    assert "--store" in str(done.exception)
    assert snapshot(tmp_path) == before


@commands
def test_nothing_that_a_store_says_reaches_the_terminal_as_a_command(
    store: Store, command: list[str]
) -> None:
    path = make(store)
    inputs = [{"kind": ESCAPES, "key": "k", "digest": ESCAPES}]
    seal(path / MANIFEST, counts={ESCAPES: ESCAPES}, created=ESCAPES, inputs=inputs, host=ESCAPES)
    (store.root / "kind\x1b[2J" / "key\x07").mkdir(parents=True)
    (store.root / "kind\x1b[2J" / "key\x07" / MANIFEST).write_text("{")
    (path / "extra\x1b[2J").write_text("")
    (store.root / "link\x1b[2J").symlink_to("/etc")
    out = store.fresh("x\x1b[2J", "k")
    assert out.is_dir()
    done = clinfuse(store.root, *command, *(["--older-than", "0"] if command == ["gc"] else []))
    assert done.output.strip()
    unprintable = {each for each in done.output if not each.isprintable()}
    assert unprintable == {"\n"}


def test_what_show_prints_is_json_whatever_is_in_it(store: Store) -> None:
    path = make(store)
    seal(path / MANIFEST, host=ESCAPES + "\u2028\U000e0001", config={ESCAPES: "é"})
    shown = json.loads(clinfuse(store.root, "show", "k").stdout)
    assert shown["host"] == ESCAPES + "\u2028\U000e0001"
    assert shown["config"] == {ESCAPES: "é"}


def test_lineage_of_manifests_that_name_each_other_ends(store: Store) -> None:
    paths = {key: make(store, key) for key in ("a", "b")}
    for key, other in (("a", "b"), ("b", "a")):
        digest = json.loads((paths[other] / MANIFEST).read_text())["digest"]
        inputs = [{"kind": "notes", "key": other, "digest": digest}] * 2
        seal(paths[key] / MANIFEST, inputs=inputs)
    drawn = clinfuse(store.root, "lineage", "a").stdout.splitlines()
    assert drawn[:2] == ["notes/a", "   notes/b"]
    assert len(drawn) == 5
    assert all("see above" in line for line in drawn[2:])


def test_verify_finds_what_is_damaged_and_what_does_not_belong(store: Store) -> None:
    flipped, copied, garbled, whole = (make(store, key) for key in "abcd")
    (flipped / "part").write_text("y")
    (flipped / "more").write_text("")
    shutil.copytree(copied, store.root / "notes" / "b.bak")
    (garbled / MANIFEST).write_text("{")
    (store.root / "report").symlink_to(whole)
    done = clinfuse(store.root, "verify")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "report is a link, which is not followed",
        "notes/a/part is not what its manifest says",
        "notes/a/more is not in its manifest",
        "notes/b.bak/manifest.json is another artifact's: the folder was copied or renamed",
        "notes/c/manifest.json cannot be read as a manifest",
        "5 artifacts, 5 damaged files",
    ]


def test_modes_of_a_store_that_is_open_to_all_do_not_keep_it_from_being_looked_at(
    store: Store,
) -> None:
    make(store)
    store.root.chmod(0o755)
    assert clinfuse(store.root, "ls").exit_code == 0
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o755


def test_du_tells_artifacts_from_what_is_beside_them(store: Store) -> None:
    for key in "ab":
        (make(store, key) / "unlisted").write_bytes(b"x" * 2**20)
    (store.fresh("corpus", "k") / "half").write_bytes(b"x" * 2**20)
    told = {
        line.split()[0]: line.split()[1:]
        for line in clinfuse(store.root, "du").stdout.split("\n")[:-1]
    }
    assert told["notes"] == ["2", "2.0"]
    assert told[".making"] == ["1.0"]
    assert told["all"] == ["2", "3.0"]


def test_an_artifact_of_another_version_is_named_and_left_alone(store: Store) -> None:
    path = of_another_version(make(store))
    listed = clinfuse(store.root, "ls")
    assert "1 more cannot be read" in listed.stderr
    verified = clinfuse(store.root, "verify")
    assert "notes/k/manifest.json was written by another version of clinfuse" in verified.stdout
    assert "0 pieces" in clinfuse(store.root, "gc", "--older-than", "0", "--delete").stdout
    assert path.is_dir()
    with pytest.raises(StoreError, match="another version of clinfuse"):
        store.find("notes", "k")


def of_another_version(path: Path) -> Path:
    """As a later version may write it: whole, with a field that this one does not know."""
    fields = json.loads((path / MANIFEST).read_text()) | {"consent": "broad"}
    del fields["checksum"]
    text = json.dumps(fields, sort_keys=True)
    fields["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    (path / MANIFEST).write_text(json.dumps(fields))
    return path
