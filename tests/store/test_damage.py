"""Content that is not what its manifest says is never used, however it came to be so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StoreError
from tasks.keys import Artifact, Hashes
from tasks.store import MANIFEST, RECORD, Manifest, Store
from tasks.store.manifest import problems
from tests.test_keys import settle
from tests.test_store import FACTS

PARTS = ("notes/part-0", "notes/part-1", "overview.json")


def make(store: Store, key: str = "k") -> Artifact:
    out = store.fresh("notes", key)
    (out / "notes").mkdir()
    for number, name in enumerate(PARTS):
        (out / name).write_text(f"text {number}")  # equal sizes
    return store.commit(out, {**FACTS, "kind": "notes", "key": key})


def folder_of(store: Store) -> Path:
    return store.path("notes", "k")


def flip(folder: Path) -> None:
    (folder / PARTS[0]).write_text("text x")


def flip_and_restore_times(folder: Path) -> None:
    status = (folder / PARTS[0]).stat()
    flip(folder)
    os.utime(folder / PARTS[0], ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(folder: Path) -> None:
    os.truncate(folder / PARTS[0], 3)


def empty(folder: Path) -> None:
    os.truncate(folder / PARTS[0], 0)


def lose(folder: Path) -> None:
    (folder / PARTS[2]).unlink()


def lose_a_folder(folder: Path) -> None:
    shutil.rmtree(folder / "notes")


def swap(folder: Path) -> None:
    (folder / PARTS[0]).rename(folder / "aside")
    (folder / PARTS[1]).rename(folder / PARTS[0])
    (folder / "aside").rename(folder / PARTS[1])


def link_to_the_same(folder: Path) -> None:
    """Equal content today, and whatever the link's target says tomorrow."""
    (folder / PARTS[0]).rename(folder.parents[1] / "elsewhere")
    (folder / PARTS[0]).symlink_to(folder.parents[1] / "elsewhere")


def link_a_folder(folder: Path) -> None:
    (folder / "notes").rename(folder.parents[1] / "elsewhere")
    (folder / "notes").symlink_to(folder.parents[1] / "elsewhere")


def pipe(folder: Path) -> None:
    (folder / PARTS[0]).unlink()
    os.mkfifo(folder / PARTS[0])


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        fields = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(fields | changes))

    return change


def edit_a_file(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        fields = json.loads((folder / MANIFEST).read_text())
        fields["files"][0] |= changes
        (folder / MANIFEST).write_text(json.dumps(fields))

    return change


def garble(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe{]")


def nest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[" * 100_000)


def lose_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def link_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).rename(folder.parents[1] / "elsewhere")
    (folder / MANIFEST).symlink_to(folder.parents[1] / "elsewhere")


def link_the_whole(folder: Path) -> None:
    folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to(folder.parents[1] / "elsewhere")


DAMAGE = {
    "flipped bytes": flip,
    "flipped bytes, times restored": flip_and_restore_times,
    "truncated": truncate,
    "emptied": empty,
    "lost": lose,
    "lost folder": lose_a_folder,
    "swapped": swap,
    "link to a file": link_to_the_same,
    "link to a folder": link_a_folder,
    "pipe": pipe,
    "manifest: garbled": garble,
    "manifest: nested": nest,
    "manifest: lost": lose_the_manifest,
    "manifest: link": link_the_manifest,
    "manifest: counts": edit(counts={"rows": 2}),
    "manifest: no such key": edit(extra=1),
    "manifest: digest": edit(digest="0" * 64),
    "manifest: digest, without a checksum": edit(digest="0" * 64, checksum=None),
    "manifest: kind": edit(kind="/somewhere", checksum=None),
    "manifest: no files": edit(files=[], checksum=None),
    "manifest: a file elsewhere": edit_a_file(name="../../elsewhere"),
    "link to the whole": link_the_whole,
}
damages = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


@damages
def test_what_is_damaged_is_not_found_and_is_made_anew(
    store: Store, damage: Callable[[Path], None]
) -> None:
    made = make(store)
    assert store.find("notes", "k") == made
    damage(folder_of(store))
    assert store.find("notes", "k") is None
    _, problem = store.examine("notes", "k")
    assert problem
    assert "\n" not in str(problem)
    assert make(store) == made
    assert store.find("notes", "k") == made


@damages
def test_what_is_damaged_is_not_read(store: Store, damage: Callable[[Path], None]) -> None:
    made, hashes = make(store), Hashes()
    with store.reading([made], hashes):
        pass
    damage(folder_of(store))
    again = r"notes/k is damaged .*; run again"
    with pytest.raises(StoreError, match=again), store.reading([made], hashes):
        pytest.fail("read")


def test_bits_that_a_disk_lost_are_seen_before_they_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time of the file tells of it: what was remembered must not count for a reader."""
    made = make(store)
    settle(*(folder_of(store) / name for name in PARTS))
    assert store.find("notes", "k") == made
    with monkeypatch.context() as rotten:
        rotten.setattr("tasks.keys.sha256_of", lambda path: "0" * 64)
        assert store.find("notes", "k") == made  # remembered
        with pytest.raises(StoreError, match="damaged"), store.reading([made]):
            pytest.fail("read")
        assert store.find("notes", "k") is None  # the next run makes it anew


def test_a_file_is_hashed_once_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import keys

    made = make(store)
    settle(*(folder_of(store) / name for name in PARTS))
    hashed: list[Path] = []
    real = keys.sha256_of
    monkeypatch.setattr(keys, "sha256_of", lambda path: hashed.append(path) or real(path))
    for expected in (3, 6):
        hashes = Hashes()
        for _ in range(4):
            with store.reading([made], hashes):
                pass
        assert len(hashed) == expected


@pytest.mark.parametrize("name", ["notes/part-2", "adapter_model.bin", "deep/er/x"])
def test_a_file_that_no_step_wrote_is_neither_read_nor_deleted(store: Store, name: str) -> None:
    made = make(store)
    stray = folder_of(store) / name
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("mine")
    for attempt in (lambda: store.find("notes", "k"), lambda: _read(store, made)):
        with pytest.raises(StoreError, match=r"1 files in .* not in its manifest.*verify"):
            attempt()
    assert [str(problem) for problem in problems(folder_of(store))] == [
        f"{name} is not in its manifest"
    ]
    assert stray.read_text() == "mine"
    stray.unlink()
    assert store.find("notes", "k") == made


@pytest.mark.parametrize(
    "name", [RECORD, ".DS_Store", ".nfs0001", "notes/._part-0", "__pycache__/a"]
)
def test_what_tools_leave_in_an_artifact_is_no_damage(store: Store, name: str) -> None:
    made = make(store)
    (folder_of(store) / name).parent.mkdir(exist_ok=True)
    (folder_of(store) / name).write_text("?")
    assert store.find("notes", "k") == made
    _read(store, made)


def test_an_artifact_that_another_run_made_anew_is_not_taken_for_the_one_asked_for(
    store: Store,
) -> None:
    make(store)
    stale = Artifact("notes", "k", "0" * 64)
    with pytest.raises(StoreError, match=r"another run has made .* anew"):
        _read(store, stale)


def test_a_step_may_leave_regular_files_only(store: Store) -> None:
    """A link would be followed today, and be damage tomorrow."""
    out = store.fresh("notes", "k")
    (out / "part").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="part, which is no regular file"):
        store.commit(out, {**FACTS, "kind": "notes", "key": "k"})


def test_a_manifest_without_a_checksum_is_one_of_before(store: Store) -> None:
    made = make(store)
    edit(checksum=None)(folder_of(store))
    assert store.find("notes", "k") == made
    fields = json.loads((folder_of(store) / MANIFEST).read_text())
    del fields["checksum"]
    (folder_of(store) / MANIFEST).write_text(json.dumps(fields))
    assert store.find("notes", "k") == made


@given(
    counts=st.dictionaries(
        st.text(), st.one_of(st.integers(), st.floats(), st.text(), st.none()), max_size=4
    ),
    config=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_any_manifest_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, Any], config: Any
) -> None:
    """A checksum that depended on how a number is printed would make artifacts anew for ever."""
    folder = tmp_path_factory.mktemp("any") / "notes" / "k"
    folder.mkdir(parents=True)
    facts = FACTS | {"kind": "notes", "key": "k", "counts": counts, "config": {"a": config}}
    manifest = Manifest.of(folder, facts)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    read = Manifest.read(folder)
    assert read.model_dump_json() == manifest.model_dump_json()


def _read(store: Store, artifact: Artifact) -> None:
    with store.reading([artifact]):
        pass
