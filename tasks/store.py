"""Artifacts on disk: found, made under a lock, and committed by renaming them into place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import StoreError
from tasks.keys import Artifact, sha256_of

MANIFEST = "manifest.json"
RECORD = "result.json"  # Prefect's own record, written afresh at every hit
SCRATCH = "work"  # checkpoints and logs inside a directory being made; dropped at commit
UNDIGESTED = frozenset({"history.parquet"})  # holds run times: its bytes differ between equal runs


class File(BaseModel):
    """One file of an artifact; rows where it is Parquet."""

    name: str
    bytes: int
    sha256: str
    rows: int | None = None


class Input(BaseModel):
    """An artifact that this one was made from."""

    kind: str
    key: str
    digest: str


class Manifest(BaseModel):
    """What an artifact is, what it was made from, and by whom; `manifest.json`, the commit mark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    key: str
    digest: str
    version: int
    config: dict[str, Any]
    inputs: tuple[Input, ...]
    files: tuple[File, ...]
    counts: dict[str, Any]
    created: str
    seconds: float
    peak_mib: float
    packages: dict[str, str]
    git_commit: str | None
    host: str
    cores: int | None = None  # None, and no GPUs: made before these were written down
    gpus: tuple[str, ...] = ()
    flow_run_id: str | None
    task_run_id: str | None

    @property
    def artifact(self) -> Artifact:
        return Artifact(self.kind, self.key, self.digest, dict(self.counts))

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Store:
    """A folder of artifacts, `<kind>/<key>/`, on a local or shared POSIX file system."""

    def __init__(self, root: Path, *, group: bool = False) -> None:
        """Open the store, making it (0700, or 2770 for a group) where it is not there yet."""
        self.root = root
        try:
            if not root.exists():
                root.mkdir(parents=True)
                root.chmod(0o2770 if group else 0o700)
            if not os.access(root, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise StoreError(
                f"the store {root} cannot be written ({error.strerror}); "
                "choose another with --store, or correct its permissions"
            ) from None

    @property
    def fingerprints(self) -> Path:
        return self.root / ".fingerprints"

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Artifact | None:
        """The artifact, if its manifest is there and every file has the size it says."""
        manifest = self.manifest(kind, key)
        if manifest is None:
            return None
        place = self.path(kind, key)
        whole = all(_size(place / file.name) == file.bytes for file in manifest.files)
        return manifest.artifact if whole else None

    def manifest(self, kind: str, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be read."""
        try:
            text = (self.path(kind, key) / MANIFEST).read_text()
            return Manifest.model_validate_json(text)
        except (OSError, ValidationError, UnicodeDecodeError):
            return None

    def manifests(self) -> list[Manifest]:
        """Every artifact's manifest, oldest first."""
        found = [
            manifest
            for path in self.root.glob(f"[!.]*/*/{MANIFEST}")
            if (manifest := self.manifest(path.parent.parent.name, path.parent.name))
        ]
        return sorted(found, key=lambda manifest: (manifest.created, manifest.kind))

    @contextmanager
    def lock(
        self,
        kind: str,
        key: str,
        *,
        shared: bool = False,
        waiting: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Hold the artifact's lock; the kernel frees it if we die. `waiting` is told once."""
        place = self.root / ".locks" / f"{kind}-{key}"
        place.parent.mkdir(exist_ok=True)
        with place.open("a") as file:
            mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    waiting()
                fcntl.flock(file, mode)
            yield

    @contextmanager
    def reading(self, artifacts: Iterable[Artifact]) -> Iterator[None]:
        """Hold the artifacts: neither gc nor a refresh takes them away while they are read."""
        with ExitStack() as held:
            for kind, key in sorted({(artifact.kind, artifact.key) for artifact in artifacts}):
                held.enter_context(self.lock(kind, key, shared=True))
                if not self.find(kind, key):
                    raise StoreError(
                        f"the artifact {kind}/{key} is gone or damaged; run again to make it anew"
                    )
            yield

    def fresh(self, kind: str, key: str, *, resume: bool = False) -> Path:
        """The directory to make the artifact in, empty but for the scratch of a run to resume."""
        out = self.root / ".making" / f"{kind}-{key}"
        if out.exists() and not resume:
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        for left in out.iterdir():
            if left.name != SCRATCH:
                _remove(left)
        return out

    def commit(self, out: Path, facts: dict[str, Any]) -> Artifact:
        """Describe the files in `out`, write the manifest last, and rename all into place.

        `facts` are the manifest's fields but files and digest. An artifact already in the place
        (a refresh) is moved aside first and deleted after.
        """
        shutil.rmtree(out / SCRATCH, ignore_errors=True)
        files = tuple(_file(path, out) for path in sorted(out.rglob("*")) if path.is_file())
        manifest = Manifest(files=files, digest=digest_of(files), **facts)
        _write_durably(out / MANIFEST, manifest.model_dump_json(indent=1))
        place = self.path(manifest.kind, manifest.key)
        place.parent.mkdir(exist_ok=True)
        aside = self.root / ".making" / f".replaced-{manifest.kind}-{manifest.key}"
        shutil.rmtree(aside, ignore_errors=True)
        if place.exists():
            place.rename(aside)
        out.rename(place)
        _sync(place.parent)
        shutil.rmtree(aside, ignore_errors=True)
        return manifest.artifact


def digest_of(files: Iterable[File]) -> str:
    """The SHA-256 over the files' names and hashes, run times and training history left out."""
    named = [[file.name, file.sha256] for file in files if Path(file.name).name not in UNDIGESTED]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _file(path: Path, folder: Path) -> File:
    _sync(path)
    rows = None
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # here: `clinfuse ls` needs no Arrow

        rows = pq.read_metadata(path).num_rows
    name = str(path.relative_to(folder))
    return File(name=name, bytes=path.stat().st_size, sha256=sha256_of(path), rows=rows)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, text: str) -> None:
    path.write_text(text)
    _sync(path)
    _sync(path.parent)
