"""Which folder is a store, and who may look into it, whatever the umask."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.errors import StoreError
from tasks.garbage import garbage, sweep
from tasks.inspection import damaged
from tasks.keys import Hashes
from tasks.runs import Run
from tasks.schemas import SCORED, SCORES
from tasks.score.ledger import Ledger, commit
from tasks.store import Store
from tasks.store.folder import MAKING, MARKER
from tests.test_store import FACTS, make


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def fill(store: Store) -> None:
    """Everything that is written into a store: an artifact, one being made, and bookkeeping."""
    made = make(store, "k")
    with store.reading([made]):
        pass
    Hashes(store.fingerprints).sha256(Path("/bin/sh"))  # old enough to be remembered
    run = Run(id="r", name="r", flow="f", deployment=None, started="2026", parameters={})
    run.reach(made, "made", 1.0)
    run.save(store.root)
    out = store.fresh("adapter", "k", resume=True)
    (out / "work" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (out / "work" / "checkpoints" / "latest.json").write_text("{}")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o000], ids="umask {:03o}".format)
@pytest.mark.parametrize(
    ("group", "folder", "file"), [(False, 0o700, 0o600), (True, 0o2770, 0o660)]
)
def test_all_that_is_written_has_the_stores_mode(
    tmp_path: Path, group: bool, folder: int, file: int, umask: int
) -> None:
    os.umask(umask)
    store = Store(tmp_path / "store", group=group)
    fill(store)
    modes = {path: mode_of(path) for path in (store.root, *store.root.rglob("*"))}
    assert len(modes) > 15
    for path, mode in modes.items():
        assert mode == (folder if path.is_dir() else file), path


def test_what_a_library_wrote_for_all_to_read_is_committed_with_the_stores_mode(
    tmp_path: Path,
) -> None:
    """A worker's process has an umask of its own, and some libraries set modes themselves."""
    store = Store(tmp_path / "store")
    out = store.fresh("notes", "k")
    os.umask(0o000)
    (out / "notes").mkdir(mode=0o777)
    (out / "notes" / "part-0.txt").write_text("x")
    (out / "notes" / "part-0.txt").chmod(0o755)
    store.commit(out, {**FACTS, "kind": "notes", "key": "k"})
    path = store.path("notes", "k")
    assert [mode_of(each) for each in (path, path / "notes")] == [0o700, 0o700]
    assert mode_of(path / "notes" / "part-0.txt") == 0o600


def test_a_folder_that_is_there_and_empty_becomes_a_private_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    (tmp_path / "store").chmod(0o755)
    assert mode_of(Store(tmp_path / "store").root) == 0o700
    (tmp_path / "shared").mkdir()
    assert mode_of(Store(tmp_path / "shared", group=True).root) == 0o2770


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o2775, 0o777])
def test_a_store_that_every_user_may_enter_is_not_written_to(tmp_path: Path, mode: int) -> None:
    root = Store(tmp_path / "store").root
    root.chmod(mode)
    with pytest.raises(StoreError, match=r"every user .*chmod o-rwx"):
        Store(root)
    assert mode_of(root) == mode
    Store(root, read_only=True)
    root.chmod(mode & ~0o007)
    Store(root)


def test_a_private_store_is_not_said_to_be_a_groups(tmp_path: Path) -> None:
    root = Store(tmp_path / "store").root
    with pytest.raises(StoreError, match="--group is for a new store"):
        Store(root, group=True)
    assert mode_of(root) == 0o700


def home(folder: Path) -> None:
    (folder / ".bashrc").write_text("")
    (folder / ".ssh").mkdir()


def project(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "manifest.json").write_text('{"name": "an extension", "version": 1}')
    (folder / "runs").mkdir()


@pytest.mark.parametrize("other", [home, project])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_of_something_else_is_refused_and_left_as_it_is(
    tmp_path: Path, other: Callable[[Path], None], read_only: bool
) -> None:
    other(tmp_path)
    before = sorted(tmp_path.rglob("*")), mode_of(tmp_path)
    with pytest.raises(StoreError, match=r"is not a store of clinfuse.*--store"):
        Store(tmp_path, read_only=read_only)
    assert (sorted(tmp_path.rglob("*")), mode_of(tmp_path)) == before


@pytest.mark.parametrize("name", ["lost+found", ".DS_Store", "0123456789abcdef" * 2, ".snapshot"])
def test_what_a_disk_or_prefect_left_does_not_keep_a_folder_from_becoming_a_store(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / name).write_text("")
    make(Store(tmp_path / "disk"), "k")


def of_before(store: Store) -> None:
    """What an earlier version left has no marker."""
    (store.root / MARKER).unlink()


def without_hidden(store: Store) -> None:
    """What `cp -r store/* elsewhere` leaves."""
    for path in store.root.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def interrupted(store: Store) -> None:
    """What an earlier version leaves that was killed in its first step."""
    of_before(store)
    shutil.rmtree(store.root / "runs")
    shutil.rmtree(store.root / "notes")


@pytest.mark.parametrize("change", [of_before, without_hidden, interrupted])
def test_a_store_without_a_marker_is_known_by_what_is_in_it(
    store: Store, change: Callable[[Store], None]
) -> None:
    fill(store)
    change(store)
    Store(store.root, read_only=True)
    assert not (store.root / MARKER).exists()
    Store(store.root)
    assert (store.root / MARKER).exists()


@pytest.mark.parametrize("name", [".making", ".locks", ".fingerprints", "runs", "notes"])
def test_a_link_in_place_of_a_folder_of_the_store_is_refused(store: Store, name: str) -> None:
    fill(store)
    (store.root / name).rename(store.root.parent / "elsewhere")
    (store.root / name).symlink_to(store.root.parent / "elsewhere")
    with pytest.raises(StoreError, match=f"{name} is a link"):
        Store(store.root).fresh("notes", "other")


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    if os.getuid() != 0:
        pytest.skip("only root can act as two users")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def act_as(user: int, root: Path, *, group: bool) -> str:
    """Use the store as that user of group 61000; the sentence that it got, if any.

    In a fork of this process: another user may not be able to read the interpreter's files.
    """
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=_act, args=(user, root, group, there))
    process.start()
    there.close()
    message: str = here.recv()
    process.join()
    return message


def _act(user: int, root: Path, group: bool, answer: Connection) -> None:
    os.setgroups([61000])
    os.setresgid(61000, 61000, 61000)
    os.setresuid(user, user, user)
    os.umask(0o022)
    try:
        store = Store(root, group=group)
        fill(store)
        sweep(store, garbage(store, keep_runs=0, older_than_days=0))
        assert not store.folders()
        fill(store)
        fill(store)
        assert not [problem for path in store.folders() for problem in damaged(path)]
        scored(store)
        answer.send("")
    except StoreError as error:
        answer.send(str(error))
    except Exception:
        answer.send(traceback.format_exc())


def scored(store: Store) -> None:
    """Commit a score, over what a scoring that was killed has left, and read all that there are."""
    known = len(Ledger(store.root).by("m", "d", "o"))
    text = {"hadm_id": 1, "text": known, "model": "m", "digest": "d", "outcome": "o"}
    text |= {"words": 1, "rare": 0.0, "sections": []}
    score = {"hadm_id": 1, "model": "m", "outcome": "o", "code_system": "s", "code": "c"}
    score |= {"probability": 0.5, "flagged": False, "scored": datetime.now(UTC)}
    making = store.root / MAKING / "scores-all"
    rows = pa.Table.from_pylist([score], SCORES), pa.Table.from_pylist([text], SCORED)
    commit(store.root, making, *rows)
    assert len(Ledger(store.root).by("m", "d", "o")) == known + 1
    (making / "left").mkdir(parents=True)


def test_of_a_volume_that_is_anothers_a_folder_in_it_becomes_the_store(public: Path) -> None:
    """As containers get them: of root, and open to all."""
    message = act_as(61001, public, group=False)
    assert f"such as {public}/store" in message
    assert act_as(61001, public / "store", group=False) == ""


def test_two_users_of_a_group_share_a_store(public: Path) -> None:
    """Each deletes, reuses and makes anew what the other made, finds it whole, and scores."""
    for user in (61001, 61002, 61001):
        assert act_as(user, public / "store", group=True) == ""
    assert len(Ledger(public / "store").by("m", "d", "o")) == 3


def test_a_private_store_is_closed_to_another_user_in_one_sentence(public: Path) -> None:
    assert act_as(61001, public / "store", group=False) == ""
    message = act_as(61002, public / "store", group=False)
    assert "cannot be written (Permission denied)" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", [".locks", "runs", "notes"])
def test_a_groups_store_with_private_folders_is_refused_in_one_sentence(
    public: Path, name: str
) -> None:
    """As an earlier version made them under umask 022."""
    assert act_as(61001, public / "store", group=True) == ""
    (public / "store" / name).chmod(0o2755)
    message = act_as(61002, public / "store", group=True)
    assert "chmod -R g+rwX" in message
    assert "\n" not in message
