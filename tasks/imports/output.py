"""Where an import writes: all or nothing, and never over what is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import ConfigError

CORPORA = ("codiesp", "codiesp-background", "e3c")  # the folders that imports make


@contextmanager
def whole_folders(out: Path, *names: str) -> Iterator[Path]:
    """A folder to write the named folders into; they are moved to `out` when all are written.

    What a killed import has left is cleared by the next one. Raises ConfigError where `out` holds
    one of them, or anything but other corpora.
    """
    partial = out / f".{names[0]}.partial"
    check_free(out, *names)
    is_new = not out.exists()
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for name in names:
            (partial / name).rename(out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def check_free(out: Path, *names: str) -> None:
    """Raise ConfigError where the named folders cannot be made in `out`."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name a folder to write to")
    if not out.exists():
        return
    for name in names:
        if (out / name).exists():
            raise ConfigError(
                f"{out / name} is there already; remove it, or name another folder to write to"
            )
    partials = {f".{name}.partial" for name in CORPORA}
    if strangers := {path.name for path in out.iterdir()} - {*CORPORA} - partials:
        raise ConfigError(
            f"{out} is not empty ({min(strangers)}); name a new folder to write to, or one that "
            "holds imported corpora only"
        )
