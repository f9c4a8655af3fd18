"""Inspect a store: find an artifact by name, its lineage, its disk use, and what is damaged."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoreError
from tasks.store import Input, Manifest, Store
from tasks.store.manifest import Problem, problems

# Of kinds that are read by key, whatever made them: the steps' versions that readers understand
# (of predictions the step's that predicts with a member).
# A version that changed how files are laid out, or what a field means, begins the range anew.
READ_VERSIONS = {"task-adapter": range(5, 6), "predictions": range(4, 5)}

GONE, ABOVE = "gone, or made anew since", "see above"


def resolve(store: Store, name: str) -> Manifest:
    """The only artifact whose key, or kind/key, begins with that name.

    Raises StoreError where none or several do.
    """
    kind, _, prefix = name.rpartition("/")
    matches = [
        manifest
        for manifest in store.manifests()
        if manifest.key.startswith(prefix) and kind in ("", manifest.kind)
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise StoreError(f"no artifact '{name}' in {store.root}; `clinfuse ls` shows what is there")
    names = ", ".join(f"{manifest.kind}/{manifest.key}" for manifest in matches[:4])
    raise StoreError(
        f"'{name}' names {len(matches)} artifacts ({names}, ...); give more characters"
    )


def check_version(manifest: Manifest) -> None:
    """Raise StoreError for an artifact of a version that readers do not understand."""
    versions = READ_VERSIONS[manifest.kind]
    if manifest.version not in versions:
        raise StoreError(
            f"{manifest.kind}/{manifest.key} was made by version {manifest.version} of its step, "
            f"and this clinfuse reads {versions[0]} to {versions[-1]}; run again to make it anew, "
            "or use the clinfuse of its manifest (`clinfuse show`: git_commit)"
        )


@dataclass(frozen=True)
class DiskUse:
    """What a part of the store takes: a kind of artifacts, or a folder beside them."""

    name: str
    artifacts: int | None  # None: not a kind
    bytes: int


def disk_use(store: Store) -> list[DiskUse]:
    """The disk use of each kind, the largest first, then of what is no artifact."""
    counts, sizes = defaultdict[str, int](int), defaultdict[str, int](int)
    for folder in store.folders():
        counts[folder.parent.name] += 1
    for entry in os.scandir(store.root):
        sizes[entry.name] = _size(entry)
    parts = [DiskUse(name, counts.get(name), size) for name, size in sizes.items()]
    return sorted(parts, key=lambda part: (part.artifacts is None, -part.bytes))


def _size(entry: os.DirEntry[str]) -> int:
    """The bytes of a file, or of all files below a folder; links are not followed."""
    if not entry.is_dir(follow_symlinks=False):
        return entry.stat(follow_symlinks=False).st_size
    with os.scandir(entry.path) as entries:
        return sum(_size(inner) for inner in entries)


def lineage(store: Store, manifest: Manifest) -> Iterator[tuple[int, str, str]]:
    """The artifact and all it was made from: depth, kind/key, and a remark, mostly empty.

    The inputs of an artifact are listed once, so that manifests that name each other end, too.
    """
    listed: set[str] = set()
    waiting = [(0, Input(kind=manifest.kind, key=manifest.key, digest=manifest.digest))]
    while waiting:
        depth, source = waiting.pop()
        name = f"{source.kind}/{source.key}"
        made = store.manifest(source.kind, source.key)
        if made is None or made.digest != source.digest:
            yield depth, name, GONE
        elif name in listed and made.inputs:
            yield depth, name, ABOVE
        else:
            yield depth, name, ""
            listed.add(name)
            waiting += [(depth + 1, origin) for origin in reversed(made.inputs)]


def damaged(folder: Path) -> list[Problem]:
    """What in an artifact's folder differs from its manifest, by reading every file."""
    if not any(problems(folder)):
        return []
    # a run may have replaced or deleted it while we read: check again before reporting it
    return list(problems(folder)) if folder.is_dir() else []


def links(store: Store) -> list[Path]:
    """Links in place of an artifact, or of a folder of artifacts; a store does not follow them."""
    inside = [path for path in store.root.glob("*/*") if not path.parent.is_symlink()]
    return sorted(path for path in (*store.root.iterdir(), *inside) if path.is_symlink())
