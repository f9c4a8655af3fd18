"""What may be deleted from a store: artifacts that no kept run reached, and leftovers of runs.

Kept are the last runs of each deployment; of runs from the terminal, which have none, the last of
each flow. So a nightly run pushes out no monthly one, nor do a search's many trials.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoreError
from tasks.runs import Run, load_records
from tasks.store import MANIFEST, RECORD, Store
from tasks.store.artifacts import REPLACED
from tasks.store.folder import FINGERPRINTS, LOCKS, MAKING, RUNS, refuse_link, remove
from tasks.store.locks import discarding
from tasks.store.manifest import is_of_another_version

_KEY = re.compile(r"[0-9a-f]{16}")
_FAILURE = re.compile(r"[0-9a-f]{32}")  # Prefect keeps a failed run's exception under such a name


@dataclass(frozen=True)
class Garbage:
    """Something in the store that may be deleted."""

    what: str
    paths: tuple[Path, ...]
    bytes: int
    touched: float  # when it was last written
    lock: str | None = None  # held by a step while it needs this


def garbage(store: Store, keep_runs: int, older_than_days: float) -> list[Garbage]:
    """What none of the last `keep_runs` runs of any deployment reached, directly or by lineage.

    Only what was last written more than `older_than_days` ago counts. This holds also for what an
    interrupted step was making, which a run could still resume.
    """
    making, remembered = _entries(store.root / MAKING), _entries(store.root / FINGERPRINTS)
    files = [path for path in _entries(store.root) if not path.is_dir()]
    failures = [path for path in files if _FAILURE.fullmatch(path.name)]
    pieces = [
        *_artifacts(store, keep_runs),
        *(_piece(store, f"unfinished {path.name}", path, _lock_of(path)) for path in making),
        *_records(store, keep_runs),
        *(_piece(store, "Prefect's records of failures", path) for path in failures),
        *(_piece(store, "fingerprints not asked for", path) for path in remembered),
    ]
    before = time.time() - older_than_days * 86400
    return _together(piece for piece in pieces if piece.touched <= before)


def sweep(store: Store, pieces: list[Garbage]) -> list[Garbage]:
    """Delete the garbage that no running step holds; return what was deleted.

    Unused locks of artifacts that are gone are deleted, too. A link in the store is deleted, never
    its target.
    """
    for name in (LOCKS, MAKING):
        refuse_link(store.root / name)
    deleted = [piece for piece in pieces if _delete(store, piece)]
    needed = {f"{path.parent.name}-{path.name}" for path in store.folders()}
    needed |= {_lock_of(path) for path in _entries(store.root / MAKING)}
    for path in _entries(store.root / LOCKS):
        if path.name not in needed:
            with discarding(path):
                pass
    return deleted


def _artifacts(store: Store, keep_runs: int) -> Iterator[Garbage]:
    kept = _reached(store, keep_runs)
    for path in store.folders():
        kind, key = path.parent.name, path.name
        what = f"{kind}/{key}"
        if store.manifest(kind, key) is None:
            if not _is_ours(path):
                continue
            what += ", which has no manifest of its own"
        elif (kind, key) in kept:
            continue
        yield _piece(store, what, path, lock=f"{kind}-{key}")


def _reached(store: Store, keep_runs: int) -> set[tuple[str, str]]:
    """The artifacts that the last runs reached, and all that those were made from."""
    runs = [run for _, run in _last_runs(load_records(store.root), keep_runs)]
    waiting = [(artifact.kind, artifact.key) for run in runs for artifact in run.artifacts]
    reached: set[tuple[str, str]] = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if manifest := store.manifest(*name):
            waiting.extend((source.kind, source.key) for source in manifest.inputs)
    return reached


def _last_runs(records: list[tuple[Path, Run]], keep_runs: int) -> list[tuple[Path, Run]]:
    """The last records of each deployment, or without one of each flow."""
    counted = Counter[str]()
    kept = []
    for path, run in reversed(records):
        whose = run.deployment or run.flow
        counted[whose] += 1
        if counted[whose] <= keep_runs:
            kept.append((path, run))
    return kept


def _is_ours(path: Path) -> bool:
    """Whether a folder without a valid manifest was an artifact; any other is left alone.

    So is one whose manifest another version of clinfuse wrote.
    """
    if is_of_another_version(path):
        return False
    if os.path.lexists(path / MANIFEST) or _KEY.fullmatch(path.name):
        return True
    return set(os.listdir(path)) <= {RECORD}


def _records(store: Store, keep_runs: int) -> Iterator[Garbage]:
    """Records of runs of which no artifact is left, and files that are not records."""
    records = load_records(store.root)
    makers = {manifest.flow_run_id for manifest in store.manifests()}
    kept = {path for path, _ in _last_runs(records, keep_runs)}
    kept |= {path for path, run in records if run.id in makers}
    for path in _entries(store.root / RUNS):
        if path not in kept:
            yield _piece(store, "records of runs", path)


def _piece(store: Store, what: str, path: Path, lock: str | None = None) -> Garbage:
    size = sum(entry.lstat().st_size for entry in _tree(path) if not entry.is_dir())
    return Garbage(what, (path,), size, _last_written(store, path), lock)


def _last_written(store: Store, path: Path) -> float:
    """When it was last written; for what is being made, by its newest file, however deep."""
    entries = _tree(path) if path.parent == store.root / MAKING else [path]
    return max(entry.lstat().st_mtime for entry in entries)


def _tree(path: Path) -> Iterator[Path]:
    """The path and all below it; links are not followed."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, names in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *names))


def _entries(path: Path) -> list[Path]:
    """What is in a folder of the store, if that exists and is a folder."""
    return sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []


def _lock_of(path: Path) -> str:
    """The lock of the artifact that is, or was, being made in that folder."""
    return path.name.removeprefix(REPLACED)


def _together(pieces: Iterable[Garbage]) -> list[Garbage]:
    """One piece for all small files of a kind, and one for each artifact, as that has a lock."""
    alone, sorts = [], dict[str, list[Garbage]]()
    for piece in pieces:
        if piece.lock:
            alone.append(piece)
        else:
            sorts.setdefault(piece.what, []).append(piece)
    return alone + [
        Garbage(
            f"{len(same)} {what}",
            tuple(path for piece in same for path in piece.paths),
            sum(piece.bytes for piece in same),
            max(piece.touched for piece in same),
        )
        for what, same in sorts.items()
    ]


def _delete(store: Store, piece: Garbage) -> bool:
    """Delete it, unless a step holds it or has written to it since it was found."""
    try:
        if piece.lock is None:
            for path in piece.paths:
                remove(path)
            return True
        [path] = piece.paths
        with discarding(store.root / LOCKS / piece.lock) as free:
            if not free or not os.path.lexists(path):
                return False
            if _last_written(store, path) > piece.touched:
                return False
            if path.parent == store.root / MAKING:
                remove(path)
            else:
                store.delete(path.parent.name, path.name)
            return True
    except OSError as error:
        raise StoreError(
            f"{error.filename} cannot be deleted ({error.strerror}); correct its permissions"
        ) from None
