"""An artifact's manifest, and how its folder differs from what the manifest says."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import StoreError
from tasks.keys import Artifact, is_bookkeeping, sha256_of
from tasks.printable import printable

MANIFEST = "manifest.json"
RECORD = "result.json"  # Prefect's record, rewritten at every hit
UNDIGESTED = frozenset({"history.parquet"})  # its run times differ between equal runs


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


class OtherVersion(ValueError):
    """A whole manifest with fields that this version of clinfuse does not know, or lacks."""

    def __init__(self) -> None:
        super().__init__("was written by another version of clinfuse, whose fields differ")


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
    cores: int | None = None  # None, and no GPUs: made before these were recorded
    gpus: tuple[str, ...] = ()
    flow_run_id: str | None
    task_run_id: str | None
    checksum: str | None = None  # over all other fields; None: made before there was one

    @classmethod
    def of(cls, folder: Path, facts: dict[str, Any]) -> Manifest:
        """Describe the files of a folder; `facts` are all fields except files, digest and checksum.

        Raises ValueError where it holds anything but regular files and folders.
        """
        files = tuple(_describe(folder, name, regular) for name, regular in _entries(folder))
        manifest = cls(files=files, digest=digest_of(files), **facts)
        fields = json.loads(manifest.model_dump_json())
        return manifest.model_copy(update={"checksum": _checksum(fields)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of an artifact's folder; a ValueError says briefly what is wrong.

        It is an OtherVersion where the manifest is whole, but not of this version's fields.
        """
        path = folder / MANIFEST
        if not os.path.lexists(path):
            raise ValueError("is missing")
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ValueError("is no regular file")
            fields = json.loads(path.read_bytes())
            manifest = cls.model_validate(fields)
        except PermissionError:
            raise
        except ValidationError:
            if _is_whole(fields, folder):
                raise OtherVersion from None
            raise ValueError("cannot be read as a manifest") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            raise ValueError("cannot be read as a manifest") from None
        if (manifest.kind, manifest.key) != (folder.parent.name, folder.name):
            raise ValueError("is another artifact's: the folder was copied or renamed")
        sealed = manifest.checksum in (None, _checksum(fields))
        if not sealed or manifest.digest != digest_of(manifest.files):
            raise ValueError("was changed after it was written")
        return manifest

    @property
    def artifact(self) -> Artifact:
        return Artifact(self.kind, self.key, self.digest, dict(self.counts))

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Problem:
    """A file of an artifact's folder that differs from what the manifest says."""

    name: str  # relative to the folder
    what: str  # e.g. "is missing"
    unlisted: bool = False  # a file that no step wrote, beside content that is whole
    other_version: bool = False  # what is there may be whole: it cannot be judged

    def __str__(self) -> str:
        return printable(f"{self.name} {self.what}".strip())


def problems(folder: Path, sha256: Callable[[Path], str] = sha256_of) -> Iterator[Problem]:
    """What is wrong with an artifact's folder; links are never followed.

    Args:
        sha256: how the hash of a file's content is found.

    Raises StoreError where we may not read it, which says nothing about its content.
    """
    try:
        yield from _problems(folder, sha256)
    except PermissionError as error:
        raise StoreError(
            f"{error.filename} cannot be read (Permission denied); ask its owner, who may share "
            "it with a group by chmod g+rX"
        ) from None


def _problems(folder: Path, sha256: Callable[[Path], str]) -> Iterator[Problem]:
    if folder.is_symlink() or folder.parent.is_symlink():
        yield Problem("", "is reached by a link")
        return
    try:
        manifest = Manifest.read(folder)
    except ValueError as error:
        yield Problem(MANIFEST, str(error), other_version=isinstance(error, OtherVersion))
        return
    entries = dict(_entries(folder))
    for file in manifest.files:
        if (regular := entries.pop(file.name, None)) is None:
            yield Problem(file.name, "is missing")
        elif not regular:
            yield Problem(file.name, "is no regular file")
        elif not _is_as_described(folder / file.name, file, sha256):
            yield Problem(file.name, "is not what its manifest says")
    for name in entries:
        if not any(map(is_bookkeeping, Path(name).parts)):
            yield Problem(name, "is not in its manifest", unlisted=True)


def digest_of(files: Iterable[File]) -> str:
    """The SHA-256 over the files' names and hashes, without those of UNDIGESTED."""
    named = [[file.name, file.sha256] for file in files if Path(file.name).name not in UNDIGESTED]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def is_of_another_version(folder: Path) -> bool:
    """Whether a whole manifest is in the folder that this version cannot read."""
    try:
        Manifest.read(folder)
    except OtherVersion:
        return True
    except (ValueError, PermissionError):
        return False
    return False


def _is_whole(fields: Any, folder: Path) -> bool:
    """Whether a manifest is as it was written, and of that folder, whatever its fields are."""
    return (
        isinstance(fields, dict)
        and (fields.get("kind"), fields.get("key")) == (folder.parent.name, folder.name)
        and fields.get("checksum") == _checksum(fields)
    )


def _checksum(fields: dict[str, Any]) -> str:
    """The SHA-256 over a manifest's fields as JSON, except the checksum."""
    rest = {name: value for name, value in fields.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """All that is below the folder, except folders: its name, and whether it is a regular file.

    In the order of `sorted(folder.rglob("*"))`, without the manifest and Prefect's record.
    """
    entries = []
    for path, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        for name in (*names, *links):
            entry = Path(path, name)
            if entry.parent != folder or name not in (MANIFEST, RECORD):
                entries.append((entry.relative_to(folder), stat.S_ISREG(entry.lstat().st_mode)))
    return [(str(name), regular) for name, regular in sorted(entries)]


def _raise(error: OSError) -> None:
    raise error


def _describe(folder: Path, name: str, regular: bool) -> File:
    if not regular:
        raise ValueError(f"a step left {name}, which is no regular file")
    path, rows = folder / name, None
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # here: `clinfuse ls` needs no Arrow

        rows = pq.read_metadata(path).num_rows
    return File(name=name, bytes=path.stat().st_size, sha256=sha256_of(path), rows=rows)


def _is_as_described(path: Path, file: File, sha256: Callable[[Path], str]) -> bool:
    try:
        return path.stat().st_size == file.bytes and sha256(path) == file.sha256
    except PermissionError:
        raise
    except OSError:  # the disk cannot read it
        return False
