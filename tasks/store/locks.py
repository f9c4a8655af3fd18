"""Locks between processes and machines: `flock` on a file, which the kernel frees at death."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tasks.errors import StoreError


@contextmanager
def locked(
    path: Path, *, shared: bool = False, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock file, made if need be; `waiting` is called once if another process holds it."""
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        with _opened(path) as file:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    waiting()
                    waiting = None
                fcntl.flock(file, mode)
            if _is_at(file, path):
                yield
                return
            # `discarding` removed the file while we waited: nobody else will see what we hold


@contextmanager
def discarding(path: Path) -> Iterator[bool]:
    """Hold the lock if it is free, and remove its file at the end; yields whether it is held."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if not _is_at(file, path):
            yield False
            return
        try:
            yield True
        finally:
            path.unlink()


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(exist_ok=True)
        return path.open("a+")  # NFS: a shared lock needs it readable, the other writable
    except OSError as error:
        raise StoreError(
            f"the lock {path} cannot be taken ({error.strerror}); correct its permissions"
        ) from None


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
