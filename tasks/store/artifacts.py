"""The store: artifacts are found, made under a lock, and committed by renaming them into place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.errors import StoreError
from tasks.keys import Artifact, Hashes
from tasks.store import folder, locks
from tasks.store.manifest import MANIFEST, Manifest, Problem, problems

REPLACED = ".replaced-"  # an artifact moved aside for the one that replaces it
SCRATCH = "work"  # checkpoints and logs inside a directory being made; dropped at commit


class Store:
    """A folder of artifacts, `<kind>/<key>/`, on a local or shared POSIX file system."""

    def __init__(self, root: Path, *, group: bool = False, read_only: bool = False) -> None:
        """Open the store, making it (0700, or 2770 for a group) where it does not exist.

        Args:
            group: a new store is shared with its Unix group.
            read_only: nothing is written; a folder that is not a store is refused.
        """
        self.root = root
        if read_only:
            folder.open_for_reading(root)
        else:
            folder.open_for_writing(root, group=group)

    @property
    def fingerprints(self) -> Path:
        return self.root / folder.FINGERPRINTS

    def path(self, kind: str, key: str) -> Path:
        """Where that artifact is; StoreError for a name that would lead out of the store."""
        if not all(name and name == Path(name).name and name[0] != "." for name in (kind, key)):
            raise StoreError(f"{kind!r}/{key!r} cannot be the name of an artifact")
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Artifact | None:
        """The artifact, if it is whole."""
        return self.examine(kind, key)[0]

    def examine(
        self, kind: str, key: str, hashes: Hashes | None = None
    ) -> tuple[Artifact | None, Problem | None]:
        """The artifact if it is whole; or what is wrong with it; neither where there is none.

        Raises StoreError where a whole artifact contains a file that no step wrote: a reader might
        take it for a part, and making the artifact anew would delete it. So also where another
        version of clinfuse wrote the manifest.

        Args:
            hashes: of the files' contents; default: those remembered in the store.
        """
        path = self.path(kind, key)
        if not os.path.lexists(path):
            return None, None
        hashes = hashes or Hashes(self.fingerprints)
        unlisted = 0
        for problem in problems(path, hashes.sha256):
            if problem.other_version:
                raise StoreError(
                    f"{path} {problem.what}; use that version, choose another store with --store, "
                    "or delete the folder, and run again"
                )
            if not problem.unlisted:
                return None, problem
            unlisted += 1
        if unlisted:
            raise StoreError(
                f"{unlisted} files in {path} are not in its manifest, `clinfuse verify` names "
                "them; remove them, or delete the folder, and run again"
            )
        manifest = self.manifest(kind, key)
        return (manifest.artifact, None) if manifest else (None, None)  # deleted just now

    def manifest(self, kind: str, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be read."""
        try:
            return Manifest.read(self.path(kind, key))
        except (ValueError, PermissionError, StoreError):
            return None

    def folders(self) -> list[Path]:
        """Every folder where an artifact would be, `<kind>/<key>`, whatever is in it."""
        paths = (path for kind in folder.kinds(self.root) for path in folder.folders_in(kind))
        return [path for path in paths if not path.name.startswith(".")]

    def manifests(self) -> list[Manifest]:
        """Every artifact's manifest, oldest first."""
        manifests = (self.manifest(path.parent.name, path.name) for path in self.folders())
        return sorted(
            filter(None, manifests), key=lambda manifest: (manifest.created, manifest.kind)
        )

    def lock(
        self,
        kind: str,
        key: str,
        *,
        shared: bool = False,
        waiting: Callable[[], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Hold the lock of an artifact; the kernel frees it if we die. See `locks.locked`."""
        path = self.root / folder.LOCKS / f"{kind}-{key}"
        return locks.locked(path, shared=shared, waiting=waiting)

    @contextmanager
    def reading(
        self, artifacts: Iterable[Artifact], hashes: Hashes | None = None
    ) -> Iterator[None]:
        """Hold the artifacts: neither gc nor a refresh removes them while they are read.

        Args:
            hashes: of files whose content has already been compared; default: none.

        Raises StoreError where one is gone, damaged, or not the one requested.
        """
        hashes = hashes or Hashes()
        with ExitStack() as held:
            for artifact in sorted(artifacts, key=lambda artifact: (artifact.kind, artifact.key)):
                held.enter_context(self.lock(artifact.kind, artifact.key, shared=True))
                self._check(artifact, hashes)
            yield

    def _check(self, artifact: Artifact, hashes: Hashes) -> None:
        name = f"{artifact.kind}/{artifact.key}"
        present, problem = self.examine(artifact.kind, artifact.key, hashes)
        if problem:
            # whole by the remembered hashes, and yet damaged: a disk has lost bits
            Hashes(self.fingerprints).forget(self.path(artifact.kind, artifact.key) / problem.name)
            raise StoreError(
                f"the artifact {name} is damaged ({problem}); run again to make it anew"
            )
        if present is None:
            raise StoreError(f"the artifact {name} is gone; run again to make it anew")
        if present.digest != artifact.digest:
            raise StoreError(
                f"another run has made the artifact {name} anew, with other content; run again"
            )

    def fresh(self, kind: str, key: str, *, resume: bool = False) -> Path:
        """The directory to make the artifact in, empty except for the scratch of a resumed run."""
        folder.refuse_link(self.path(kind, key).parent)
        out = self.root / folder.MAKING / f"{kind}-{key}"
        if os.path.lexists(out) and (not resume or out.is_symlink()):
            folder.remove(out)
        out.mkdir(parents=True, exist_ok=True)
        for left in out.iterdir():
            if left.name != SCRATCH:
                folder.remove(left)
        return out

    def commit(self, out: Path, facts: dict[str, Any]) -> Artifact:
        """Describe the files in `out`, write the manifest last, and rename all into place.

        `facts` are the manifest's fields except files, digest and checksum. An artifact that is
        already there (a refresh) is first moved aside, and deleted afterwards.
        """
        shutil.rmtree(out / SCRATCH, ignore_errors=True)
        folder.give_modes(out, folder.umask_of(self.root))
        manifest = Manifest.of(out, facts)
        for file in manifest.files:
            folder.sync(out / file.name)
        (out / MANIFEST).write_text(manifest.model_dump_json(indent=1))
        folder.sync(out / MANIFEST)
        folder.sync(out)
        path = self.path(manifest.kind, manifest.key)
        path.parent.mkdir(exist_ok=True)
        with self._moved_aside(path):
            out.rename(path)
            folder.sync(path.parent)
        return manifest.artifact

    def delete(self, kind: str, key: str) -> None:
        """Delete an artifact's folder, whatever is in it: it is gone whole or not at all."""
        with self._moved_aside(self.path(kind, key)):
            pass

    @contextmanager
    def _moved_aside(self, path: Path) -> Iterator[None]:
        """Move what is there aside, and delete it at the end."""
        aside = self.root / folder.MAKING / f"{REPLACED}{path.parent.name}-{path.name}"
        aside.parent.mkdir(exist_ok=True)
        folder.remove(aside)
        if os.path.lexists(path):
            path.rename(aside)
        yield
        with suppress(OSError):  # gc will delete what is still open over NFS
            folder.remove(aside)
