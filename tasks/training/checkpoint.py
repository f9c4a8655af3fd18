"""Checkpoints of one training: written whole or not at all, the last one found again.

work/checkpoints/<name>/step-00000100/       a file a rank (`held.py`), of what is trained only, the
                                            model's buffers, and the trained tensors of the best
                                            judged step so far
work/checkpoints/<name>/latest.json          the mark: renamed into place when all is there
work/checkpoints/<name>/best.safetensors     the best, where it is of a step after the checkpoint
work/checkpoints/<name>/trained.safetensors  once at the end, with the mark finished.json

A mark holds the hash of every file that it vouches for. What differs from it is not loaded, and
training starts anew. All files are safetensors or JSON, which cannot hold code: DeepSpeed's own
checkpoints are pickles, and those of ZeRO-1 and 2 can be read by as many ranks only as wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.errors import TrainingError
from tasks.keys import sha256_of
from tasks.training import held
from tasks.training.engine import Engine
from tasks.training.program import World

_BEST, _BUFFERS = "best.safetensors", "buffers.safetensors"


@dataclass
class State:
    """How far a training has come, beside what the engine holds."""

    step: int = 0  # optimizer steps taken
    tokens: int = 0
    examples: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_value: float | None = None
    stopped: bool = False  # before its last step, by a watcher
    history: list[dict[str, Any]] = field(default_factory=list)


class Checkpoints:
    """Where one training is saved."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.folder = world.work / "checkpoints" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.beginning = "started"  # how the training began, for the log
        self._best: dict[str, Tensor] | None = None
        self._best_file: Path | None = None  # of the last checkpoint

    def finished(self) -> tuple[State, dict[str, Tensor] | None]:
        """The end of a training that was finished earlier, or a fresh state and None."""
        mark = self._read("finished.json")
        if mark is None:
            return State(), None
        if not self._is_whole(mark.pop("files", None), [self._trained]):
            self.beginning = "started anew, since its result is damaged"
            return State(), None
        return State(**mark), load_file(self._trained)

    def resume(self, engine: Engine) -> State:
        """Load the last checkpoint into the engine; a fresh state where there is none.

        Any number of ranks, at any ZeRO stage, may have written it. Where a file is damaged,
        training starts anew. Raises TrainingError for one of another model.
        """
        (self.folder / _BEST).unlink(missing_ok=True)  # of a step after the checkpoint
        mark = self._read("latest.json")
        if mark is None:
            return State()
        files, ranks, counters = (mark.pop(key, None) for key in ("files", "ranks", "engine"))
        state = State(**mark)
        if counters is None or not self._is_whole(files, self._files(state.step)):
            self.beginning = "started anew, since its checkpoint is damaged"
            return State()
        self._put_back(engine, state.step, counters)
        others = "" if ranks == self.world.size else f", which {ranks} ranks had saved"
        self.beginning = f"resumed from step {state.step}{others}"
        self._best_file = self._best_of(state.step)
        return state

    def save(self, engine: Engine, state: State) -> None:
        """Write a checkpoint; the former one counts until this one is whole on every rank."""
        folder = self.folder / _tag(state.step)
        if self.world.first:  # what a training left that was killed, or began anew since
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.world.wait()
        # frozen parameters come from the base again: 85 GB against 0.5 GB at 7B
        path = folder / f"rank-{self.world.rank:04d}.safetensors"
        held.write(path, engine.names, engine.model.optimizer, self.world.rank)
        _sync(path)
        if self.world.first:
            if buffers := engine.buffers():  # the same on every rank
                held.save(buffers, folder / _BUFFERS)
            self._add_best(folder / _BEST)
            for kept in filter(None, (self._best_of(state.step), folder)):
                _sync(kept)
        self.world.wait()
        self._best_file = self._best_of(state.step)
        files = self._hashes(self._files(state.step))
        if self.world.first:
            counted = {"ranks": self.world.size, "engine": engine.counters(), "files": files}
            self._mark("latest.json", asdict(state) | counted)
            for old in self.folder.glob("step-*"):
                if old != folder:  # the newest is enough: it is marked only when it is whole
                    shutil.rmtree(old)
        self.world.wait()

    def keep_best(self, tensors: dict[str, Tensor]) -> None:
        """Keep these tensors as the best so far; with the next checkpoint they are durable."""
        self._best = tensors
        if self.world.first:
            save_file(tensors, self.folder / _BEST)

    def best(self) -> dict[str, Tensor]:
        """The tensors that were kept last."""
        return self._best or load_file(self._best_file or self.folder / _BEST)

    def finish(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Write the result of the training, then drop its checkpoints."""
        self.world.wait()
        if self.world.first:
            save_file(tensors, self._trained)
            self._mark("finished.json", asdict(state) | {"files": self._hash([self._trained])})
            for name in ("latest.json", _BEST):
                (self.folder / name).unlink(missing_ok=True)
            for old in self.folder.glob("step-*"):
                shutil.rmtree(old)
        self.world.wait()

    @property
    def _trained(self) -> Path:
        return self.folder / "trained.safetensors"

    def _add_best(self, path: Path) -> None:
        """Put the best so far into a checkpoint."""
        if (self.folder / _BEST).exists():
            (self.folder / _BEST).replace(path)
        elif self._best_file:
            try:
                os.link(self._best_file, path)
            except OSError:  # a file system without links
                shutil.copyfile(self._best_file, path)

    def _best_of(self, step: int) -> Path | None:
        path = self.folder / _tag(step) / _BEST
        return path if path.exists() else None

    def _put_back(self, engine: Engine, step: int, counters: dict[str, Any]) -> None:
        paths = sorted((self.folder / _tag(step)).glob("rank-*.safetensors"))
        sizes = {name: engine.size_of(name) for name in engine.names}
        with ExitStack() as stack:
            try:
                written = held.Written.open(paths, stack)
            except (SafetensorError, KeyError, TypeError, ValueError):
                written = held.Written({}, [])
            if written.sizes != sizes:
                raise TrainingError(
                    f"the checkpoint in {self.folder} is none of this model; delete that folder, "
                    "and training starts anew"
                )
            steps = counters["optimizer_steps"]
            held.put_back(written, engine.names, engine.model.optimizer, self.world.rank, steps)
        path = self.folder / _tag(step) / _BUFFERS
        known = engine.buffers()
        for name, tensor in load_file(path).items() if path.exists() else ():
            known[name].copy_(tensor)
        engine.count_on(counters)

    def _files(self, step: int) -> list[Path]:
        """The files of the checkpoint of that step, on all ranks the same."""
        return sorted(path for path in (self.folder / _tag(step)).rglob("*") if path.is_file())

    def _is_whole(self, files: dict[str, str] | None, paths: list[Path]) -> bool:
        """Whether these files, and no others, are what the mark says; every rank must call it."""
        return files is not None and self._hashes(paths) == files

    def _hashes(self, paths: list[Path]) -> dict[str, str]:
        """The hashes of the files by name, each computed by one of the ranks."""
        mine = self._hash(paths[self.world.rank :: self.world.size])
        return {
            name: digest for hashes in self.world.gather(mine) for name, digest in hashes.items()
        }

    def _hash(self, paths: list[Path]) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): sha256_of(path) if path.is_file() else ""
            for path in paths
        }

    def _read(self, name: str) -> dict[str, Any] | None:
        """A mark; None where there is none, and nothing in it where it cannot be read."""
        try:
            return json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def _mark(self, name: str, value: dict[str, Any]) -> None:
        fresh = self.folder / f"{name}.new"
        with fresh.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / name)
        _sync(self.folder)


def _sync(path: Path) -> None:
    """Have the disk hold it, before a mark vouches for it: the power may fail."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        if not path.is_dir():  # of which some network file systems know nothing to sync
            raise
    finally:
        os.close(opened)


def _tag(step: int) -> str:
    return f"step-{step:08d}"
