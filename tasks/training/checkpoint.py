"""Checkpoints of one training: written whole or not at all, the last one found again.

work/checkpoints/<name>/step-00000100/       DeepSpeed's shards, one or two files a rank, and the
                                            trained tensors of the best judged step so far
work/checkpoints/<name>/latest.json          the mark: renamed into place when all is there
work/checkpoints/<name>/best.safetensors     the best, where it is of a step after the checkpoint
work/checkpoints/<name>/trained.safetensors  once at the end, with the mark finished.json

A mark holds the hash of every file that it vouches for. What differs from it is not loaded, and
training starts anew. DeepSpeed's shards are pickles, which could hold code: torch reads them as
tensors and plain values, and refuses anything else.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.errors import TrainingError
from tasks.keys import sha256_of
from tasks.training.engine import Engine
from tasks.training.program import World

_BEST = "best.safetensors"


@dataclass
class State:
    """How far a training has come, beside what the engine holds."""

    step: int = 0  # optimizer steps taken
    tokens: int = 0
    examples: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_value: float | None = None
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

        One of another number of ranks cannot be read by DeepSpeed's engine: training starts anew,
        as it does where a file is damaged. Raises TrainingError for one that holds code.
        """
        (self.folder / _BEST).unlink(missing_ok=True)  # of a step after the checkpoint
        mark = self._read("latest.json")
        if mark is None or mark.pop("ranks", self.world.size) != self.world.size:
            return State()
        files = mark.pop("files", None)
        state = State(**mark)
        if not self._is_whole(files, self._files(state.step)):
            self.beginning = "started anew, since its checkpoint is damaged"
            return State()
        try:
            with _tensors_only():
                engine.model.load_checkpoint(
                    str(self.folder), _tag(state.step), load_module_strict=False
                )
        except pickle.UnpicklingError:
            raise TrainingError(
                f"the checkpoint in {self.folder} holds more than tensors and was not loaded; find "
                "out who changed it, then delete that folder, and training starts anew"
            ) from None
        self.beginning = f"resumed from step {state.step}"
        self._best_file = self._best_of(state.step)
        return state

    def save(self, engine: Engine, state: State) -> None:
        """Write a checkpoint; the former one counts until this one is whole on every rank."""
        folder = self.folder / _tag(state.step)
        if self.world.first:  # what a training left that was killed, or began anew since
            shutil.rmtree(folder, ignore_errors=True)
        self.world.wait()
        # frozen parameters come from the base again: 85 GB against 0.5 GB at 7B
        engine.model.save_checkpoint(
            str(self.folder), _tag(state.step), save_latest=False, exclude_frozen_parameters=True
        )
        if self.world.first:
            self._add_best(folder / _BEST)
        self.world.wait()
        self._best_file = self._best_of(state.step)
        files = self._hashes(self._files(state.step))
        if self.world.first:
            self._mark("latest.json", asdict(state) | {"ranks": self.world.size, "files": files})
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


def _tag(step: int) -> str:
    return f"step-{step:08d}"


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Within it, torch.load reads tensors and plain values, and runs no code.

    DeepSpeed asks torch.load for the contrary, in several places; the environment overrules it.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    plain = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
    forced, not_forced = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, not_forced)}
    os.environ[forced] = "1"
    try:
        with torch.serialization.safe_globals(plain):
            yield
    finally:
        os.environ.pop(forced)
        os.environ.update({name: value for name, value in before.items() if value is not None})
