"""The key of an artifact: a hash of its step, its config and what it is made from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.config import Unkeyed
from tasks.errors import ConfigError

KEY_CHARACTERS = 16  # 64 bits: no collision among billions of artifacts of one kind
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Artifact:
    """A directory in the store, by name: kind and key say where, digest says which bytes.

    A dataclass, not a pydantic model: Prefect's `Task.map` would iterate the latter.
    """

    kind: str
    key: str
    digest: str
    counts: dict[str, Any] = field(default_factory=dict)


def key_of(kind: str, version: int, arguments: Mapping[str, Any], fingerprints: Path) -> str:
    """Return the key of what the step of that kind and version makes from these arguments.

    A file or folder counts by the SHA-256 of its content, memoized under `fingerprints`; an
    artifact by its digest; an `Unkeyed` value not at all. Raises ConfigError where a named path
    is not there.
    """
    described = describe(arguments, fingerprints)
    text = json.dumps([kind, version, described], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_CHARACTERS]


def describe(value: Any, fingerprints: Path) -> Any:
    """Return the value as JSON in which artifacts are digests and files are content hashes."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Artifact():
            return {"artifact": value.kind, "digest": value.digest}
        case Path():
            return {"sha256": fingerprint(value, fingerprints)}
        case BaseModel():
            value = {name: getattr(value, name) for name in type(value).model_fields}
            return describe(value, fingerprints)
        case Mapping():
            return {
                str(name): describe(item, fingerprints)
                for name, item in sorted(value.items())
                if not isinstance(item, Unkeyed)
            }
        case list() | tuple():
            return [describe(item, fingerprints) for item in value]
        case _:
            raise TypeError(f"a step cannot take a {type(value).__name__}: it has no stable key")


def inputs_of(value: Any) -> list[Artifact]:
    """The artifacts among a step's arguments, nested ones too, in their order."""
    match value:
        case Artifact():
            return [value]
        case Mapping():
            return [found for item in value.values() for found in inputs_of(item)]
        case list() | tuple():
            return [found for item in value for found in inputs_of(item)]
        case _:
            return []


def fingerprint(path: Path, memo: Path) -> str:
    """The SHA-256 of a file's content, or of the names and contents of a folder's files."""
    if path.is_file():
        return _file_fingerprint(path, memo)
    if not path.is_dir():
        raise ConfigError(f"{path} is not there; correct the path in the configuration")
    found = {
        str(file.relative_to(path)): _file_fingerprint(file, memo)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _file_fingerprint(path: Path, memo: Path) -> str:
    """The file's SHA-256, remembered under its device, inode, size and time of change."""
    try:
        status = path.stat()
        name = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        remembered = memo / name
        if remembered.is_file() and len(digest := remembered.read_text()) == 64:
            return digest
        digest = sha256_of(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from None
    memo.mkdir(parents=True, exist_ok=True)
    temporary = memo / f".{name}.{os.getpid()}"
    temporary.write_text(digest)
    temporary.replace(remembered)
    return digest
