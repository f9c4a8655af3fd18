"""Looking after a store: what is in it, what came from what, what is damaged, what may go."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoreError
from tasks.keys import sha256_of
from tasks.runs import load_runs
from tasks.store import Manifest, Store


@dataclass(frozen=True)
class Garbage:
    """Something in the store that no kept run reached."""

    path: Path
    bytes: int
    what: str


def resolve(store: Store, name: str) -> Manifest:
    """The one artifact whose key, or kind/key, begins with that name.

    Raises StoreError where none or several do.
    """
    kind, _, prefix = name.rpartition("/")
    found = [
        manifest
        for manifest in store.manifests()
        if manifest.key.startswith(prefix) and kind in ("", manifest.kind)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StoreError(f"no artifact '{name}' in {store.root}; `clinfuse ls` shows what is there")
    names = ", ".join(f"{manifest.kind}/{manifest.key}" for manifest in found[:4])
    raise StoreError(f"'{name}' names {len(found)} artifacts ({names}, ...); give more characters")


def lineage(store: Store, manifest: Manifest, depth: int = 0) -> Iterator[tuple[int, str, bool]]:
    """The artifact and all it was made from: depth, kind/key, and whether the bytes are there."""
    yield depth, f"{manifest.kind}/{manifest.key}", True
    for source in manifest.inputs:
        found = store.manifest(source.kind, source.key)
        if found is None or found.digest != source.digest:
            yield depth + 1, f"{source.kind}/{source.key}", False
        else:
            yield from lineage(store, found, depth + 1)


def damaged(store: Store, manifest: Manifest) -> list[str]:
    """The files of an artifact whose content is not what the manifest says."""
    place = store.path(manifest.kind, manifest.key)
    wrong = []
    for file in manifest.files:
        path = place / file.name
        if not path.is_file() or sha256_of(path) != file.sha256:
            wrong.append(file.name)
    return wrong


def garbage(store: Store, keep_runs: int, older_than_days: float) -> list[Garbage]:
    """What none of the last `keep_runs` runs reached, directly or through lineage.

    Only what is older than `older_than_days` counts; leftovers of steps that are being made, or
    that a run could resume, count once they are that old too.
    """
    kept = _reached(store, keep_runs)
    before = time.time() - older_than_days * 86400
    found = []
    for manifest in store.manifests():
        place = store.path(manifest.kind, manifest.key)
        if (manifest.kind, manifest.key) not in kept and place.stat().st_mtime <= before:
            found.append(Garbage(place, manifest.bytes, f"{manifest.kind}/{manifest.key}"))
    for place in sorted((store.root / ".making").glob("*")):
        if place.stat().st_mtime <= before:
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            found.append(Garbage(place, size, f"unfinished {place.name}"))
    found += [
        # Prefect keeps the exception of a failed run under a bare identifier
        Garbage(place, place.stat().st_size, "Prefect's record of a failure")
        for place in sorted(store.root.iterdir())
        if place.is_file() and len(place.name) == 32 and place.stat().st_mtime <= before
    ]
    return found


def sweep(store: Store, found: list[Garbage]) -> list[Garbage]:
    """Delete the garbage that no running step holds; return what was deleted."""
    deleted = []
    for piece in found:
        name = piece.path.name
        if piece.path.parent.parent == store.root:
            name = f"{piece.path.parent.name}-{name}" if piece.path.parent.name[0] != "." else name
        with (store.root / ".locks" / name.lstrip(".")).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if piece.path.is_dir():
                shutil.rmtree(piece.path)
            else:
                piece.path.unlink(missing_ok=True)
        deleted.append(piece)
    return deleted


def _reached(store: Store, keep_runs: int) -> set[tuple[str, str]]:
    waiting = [
        (artifact.kind, artifact.key)
        for run in (load_runs(store.root)[-keep_runs:] if keep_runs else [])
        for artifact in run.artifacts
    ]
    reached: set[tuple[str, str]] = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if manifest := store.manifest(*name):
            waiting.extend((source.kind, source.key) for source in manifest.inputs)
    return reached
