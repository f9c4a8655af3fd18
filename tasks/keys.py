"""The key of an artifact: a hash of its step, its config and what it is made from.

A config's values that are the default are not in it: a new field with a default changes no key of
anybody's store. So a default that is changed needs a new version of every step that takes it, which
`tests/pins.json` holds to account.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.config import Unkeyed
from tasks.errors import ConfigError

KEY_CHARACTERS = 16  # 64 bits: no collision among billions of artifacts of one kind
_CHUNK_BYTES = 1 << 20
_DIGEST_CHARACTERS = 64
# A file that was written just now may be written again within the same tick of the file system's
# clock (4 ms), with no trace in its times: what is younger is not remembered.
_SETTLED_SECONDS = 2.0


if TYPE_CHECKING:
    # A step is called with an artifact where its function takes the path of the artifact's
    # directory. For the type checker one is the other, so that it sees a misspelt argument.
    _Directory = Path
else:
    _Directory = object


@dataclass(frozen=True)
class Artifact(_Directory):
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
    artifact by its digest; an `Unkeyed` value and a model's default not at all. Raises ConfigError
    where a named path is not there.
    """
    described = describe(arguments, fingerprints, defaults=False)
    text = json.dumps([kind, version, described], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_CHARACTERS]


def describe(value: Any, fingerprints: Path, *, defaults: bool = True) -> Any:
    """Return the value as JSON in which artifacts are digests and files are content hashes.

    Args:
        defaults: whether of a model the fields that have their default are in it, too.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Artifact():
            return {"artifact": value.kind, "digest": value.digest}
        case Path():
            return {"sha256": fingerprint(value, fingerprints)}
        case BaseModel():
            fields = fields_of(value, defaults=defaults)
            return describe(fields, fingerprints, defaults=defaults)
        case Mapping():
            return {
                str(name): describe(item, fingerprints, defaults=defaults)
                for name, item in sorted(value.items())
                if not isinstance(item, Unkeyed)
            }
        case list() | tuple():
            return [describe(item, fingerprints, defaults=defaults) for item in value]
        case _:
            raise TypeError(f"a step cannot take a {type(value).__name__}: it has no stable key")


def fields_of(model: BaseModel, *, defaults: bool) -> dict[str, Any]:
    """A model's fields; without `defaults`, those that differ from it, and those that say which
    model of a union it is."""
    return {
        name: value
        for name, field in type(model).model_fields.items()
        if (value := getattr(model, name)) != field.get_default(call_default_factory=True)
        or defaults
        or is_tag(field)
    }


def is_tag(field: FieldInfo) -> bool:
    """Whether the field says which model of a union it is: only one value is allowed.

    >>> class Hash(BaseModel):
    ...     kind: Literal["hash"] = "hash"
    ...     seed: int = 0
    >>> [is_tag(field) for field in Hash.model_fields.values()]
    [True, False]
    """
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


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
    """The SHA-256 of a file's content, or of the names and contents of a folder's files.

    Of a folder, hidden files and folders and `__pycache__` do not count: a download's `.cache`, a
    clone's `.git` and a desktop's `.DS_Store` come and go without changing what a model is.
    """
    if path.is_file():
        return _file_fingerprint(path, memo)
    if not path.is_dir():
        raise ConfigError(f"{path} is not there; correct the path in the configuration")
    hashes = {
        str(file.relative_to(path)): _file_fingerprint(file, memo)
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(map(is_bookkeeping, file.relative_to(path).parts))
    }
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def is_bookkeeping(name: str) -> bool:
    """Whether a file or folder of that name is some tool's own, and no part of the content."""
    return name.startswith(".") or name == "__pycache__"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class Hashes:
    """The SHA-256 of files, computed once for as long as nothing has touched them.

    A file is known again by its device, inode, size and times. The time of change is among them:
    unlike the time of modification it cannot be set, so an edit that restores the latter is seen.
    What is not seen is a disk that loses bits by itself.
    """

    def __init__(self, memo: Path | None = None) -> None:
        """Remember in the folder `memo`, for all processes; or else in this object alone."""
        self.memo = memo
        self._known: dict[str, str] = {}

    def sha256(self, path: Path) -> str:
        """The hash of the file's content; an OSError where it cannot be read."""
        identity = _identity(path)
        if digest := self._recall(identity):
            return digest
        began = time.time()
        digest = sha256_of(path)
        settled = began - path.stat().st_ctime > _SETTLED_SECONDS
        if settled and identity == _identity(path):
            self._remember(identity, digest)
        return digest

    def _recall(self, identity: str) -> str | None:
        if self.memo is None:
            return self._known.get(identity)
        try:
            digest = (self.memo / identity).read_text()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(self.memo / identity)  # gc forgets what was not asked for in a while
        return digest if len(digest) == _DIGEST_CHARACTERS else None

    def _remember(self, identity: str, digest: str) -> None:
        if self.memo is None:
            self._known[identity] = digest
            return
        temporary = self.memo / f".{identity}.{os.getpid()}"
        with suppress(OSError):  # a store that is read-only, or full: hashed again the next time
            self.memo.mkdir(parents=True, exist_ok=True)
            temporary.write_text(digest)
            temporary.replace(self.memo / identity)

    def forget(self, path: Path) -> None:
        """Compute the hash of that file anew the next time."""
        with suppress(OSError):
            identity = _identity(path)
            self._known.pop(identity, None)
            if self.memo is not None:
                (self.memo / identity).unlink(missing_ok=True)


def _identity(path: Path) -> str:
    status = path.stat()
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "-".join(map(str, numbers))


def _file_fingerprint(path: Path, memo: Path) -> str:
    try:
        return Hashes(memo).sha256(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from None
