"""The folder of a store: which folder is one, and who may enter it.

A store holds patients' notes. Whoever may enter its folder may read them, so its mode decides:
0700 (only its owner) or 2770 (a Unix group), never open to all. Whatever is written into it, by us
or by a library, gets the folder's mode through the process's umask.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from tasks.errors import StoreError
from tasks.store.manifest import MANIFEST, Manifest

MARKER = ".clinfuse-store"
LOCKS, MAKING, FINGERPRINTS, RUNS = ".locks", ".making", ".fingerprints", "runs"
SEARCHES = "searches"  # a folder a search; no artifacts
SCORES = "scores"  # of new notes, by day; no artifacts
PRIVATE, SHARED = 0o700, 0o2770
_OTHERS = 0o007
# what a folder may hold before it becomes a store: files of a disk or a desktop, and what Prefect
# or an earlier clinfuse left when a run failed before its first step
_NOTHING = re.compile(
    r"lost\+found|\.(snapshot|zfs|DS_Store|nfs\w+|locks|making|fingerprints)|[0-9a-f]{32}"
)


def open_for_reading(root: Path) -> None:
    """Check that the folder is a store that we may read, without writing anything.

    Raises StoreError otherwise.
    """
    try:
        if not root.is_dir():
            raise StoreError(f"there is no store at {root}; name one with --store")
        if not _is_store(root):
            raise StoreError(f"{root} is not a store of clinfuse; name one with --store")
        if not os.access(root, os.R_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise StoreError(
            f"the store {root} cannot be read ({error.strerror}); ask its owner"
        ) from None


def open_for_writing(root: Path, *, group: bool) -> None:
    """Check that the folder is a store that we may write to; an empty one becomes a store.

    From now on all that the process writes has the store's mode. Raises StoreError where the
    folder holds something else, is open to every user, or cannot be written.
    """
    try:
        root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if not _is_store(root):
            if not all(_NOTHING.fullmatch(name) for name in os.listdir(root)):
                raise StoreError(
                    f"{root} is not a store of clinfuse, and other files are in it; "
                    "name a new or an empty folder with --store"
                )
            _set_mode(root, group)
        _refuse_open_doors(root, group)
        _refuse_what_cannot_be_written(root)
        os.umask(umask_of(root))
        if not (root / MARKER).exists():
            (root / MARKER).write_text("The artifacts of clinfuse. Patients' notes are in here.\n")
    except OSError as error:
        raise StoreError(
            f"the store {root} cannot be written ({error.strerror}); "
            "choose another with --store, or correct its permissions"
        ) from None


def umask_of(root: Path) -> int:
    """The umask that gives files the mode of the store: 077 in a private one, 007 in a shared."""
    return ~root.stat().st_mode & 0o077


def give_modes(folder: Path, umask: int) -> None:
    """Give a folder and all that is in it the modes that the umask grants."""
    for path, _, names in os.walk(folder):
        _give_mode(path, 0o777 & ~umask)
        for name in names:
            _give_mode(os.path.join(path, name), 0o666 & ~umask)


def kinds(root: Path) -> list[Path]:
    """The folders of artifacts, one for each kind; links are not followed."""
    others = (RUNS, SEARCHES, SCORES, "lost+found")
    return [
        path
        for path in folders_in(root)
        if path.name not in others and not path.name.startswith(".")
    ]


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, by name, without links; none if the folder does not exist."""
    if path.is_symlink() or not path.is_dir():
        return []
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return [path / name for name in sorted(names)]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_link(path: Path) -> None:
    """Raise StoreError where a folder of the store is replaced by a link."""
    if path.is_symlink():
        raise StoreError(
            f"{path} is a link, and a store is one folder; move the folder itself there, "
            "or mount it there"
        )


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_store(root: Path) -> bool:
    """Whether it has our marker, or, from before there was one, what only a store has."""
    if (root / MARKER).is_file() or ((root / LOCKS).is_dir() and (root / MAKING).is_dir()):
        return True
    return (root / RUNS).is_dir() and any(
        _has_manifest(folder) for kind in kinds(root) for folder in folders_in(kind)
    )


def _has_manifest(folder: Path) -> bool:
    try:
        return bool((folder / MANIFEST).is_file() and Manifest.read(folder))
    except ValueError:
        return False


def _set_mode(root: Path, group: bool) -> None:
    """Give a new store its mode; a folder that only a group may enter keeps its own."""
    mode = stat.S_IMODE(root.stat().st_mode)
    try:
        if group:
            root.chmod(SHARED)
        elif mode & _OTHERS:
            root.chmod(PRIVATE)
    except PermissionError:  # another user's, e.g. a mounted volume
        raise StoreError(
            f"{root} belongs to another user and is open to others (mode {mode:o}); name a new "
            f"folder in it, such as {root / 'store'}"
        ) from None


def _refuse_open_doors(root: Path, group: bool) -> None:
    mode = stat.S_IMODE(root.stat().st_mode)
    if mode & _OTHERS:
        raise StoreError(
            f"every user of this machine may enter the store {root} (mode {mode:o}), which holds "
            f"patients' notes; run `chmod o-rwx {root}` first"
        )
    if group and not mode & stat.S_IWGRP:
        raise StoreError(
            f"--group is for a new store, and {root} is there with mode {mode:o}; to share it, run "
            f"`chmod -R g+rwX {root}` and `find {root} -type d -exec chmod g+s {{}} +` first"
        )


def _refuse_what_cannot_be_written(root: Path) -> None:
    ours = [root / name for name in (LOCKS, MAKING, FINGERPRINTS, RUNS, SEARCHES, SCORES)]
    for path in ours:
        refuse_link(path)
    for path in (root, *kinds(root), *ours):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise StoreError(
                f"{path} cannot be written (Permission denied); choose another store with --store, "
                "or let its owner share it by chmod -R g+rwX"
            )


def _give_mode(path: str, mode: int) -> None:
    status = os.lstat(path)
    wanted = mode | (stat.S_IMODE(status.st_mode) & stat.S_ISGID)
    if stat.S_IMODE(status.st_mode) != wanted and not stat.S_ISLNK(status.st_mode):
        os.chmod(path, wanted)
