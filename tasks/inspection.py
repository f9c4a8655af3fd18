"""Looking into a store: which artifact is meant, what it was made from, what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import StoreError
from tasks.store import Input, Manifest, Store
from tasks.store.manifest import Problem, problems

GONE, ABOVE = "gone, or made anew since", "see above"


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


def lineage(store: Store, manifest: Manifest) -> Iterator[tuple[int, str, str]]:
    """The artifact and all it was made from: depth, kind/key, and a remark, mostly empty.

    What an artifact was made from is told once; manifests that name each other end, too.
    """
    told: set[str] = set()
    waiting = [(0, Input(kind=manifest.kind, key=manifest.key, digest=manifest.digest))]
    while waiting:
        depth, source = waiting.pop()
        name = f"{source.kind}/{source.key}"
        found = store.manifest(source.kind, source.key)
        if found is None or found.digest != source.digest:
            yield depth, name, GONE
        elif name in told and found.inputs:
            yield depth, name, ABOVE
        else:
            yield depth, name, ""
            told.add(name)
            waiting += [(depth + 1, each) for each in reversed(found.inputs)]


def damaged(folder: Path) -> list[Problem]:
    """What in an artifact's folder is not what its manifest says, by reading every file."""
    if not any(problems(folder)):
        return []
    # a run may have replaced or deleted it while we read: look again before it is said
    return list(problems(folder)) if folder.is_dir() else []


def links(store: Store) -> list[Path]:
    """Links in place of an artifact, or of a folder of artifacts; a store does not follow them."""
    inside = [path for path in store.root.glob("*/*") if not path.parent.is_symlink()]
    return sorted(path for path in (*store.root.iterdir(), *inside) if path.is_symlink())
