"""Checkpoints of one training: written whole or not at all, the last one found again.

work/checkpoints/<arm>/step-00000100/   DeepSpeed's shards, one or two files a rank
work/checkpoints/<arm>/best.safetensors the trained tensors of the best judged step
work/checkpoints/<arm>/latest.json      the mark: renamed into place when all is there
work/checkpoints/<arm>/trained.safetensors and finished.json   once at the end
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.training.engine import Engine
from tasks.training.program import World

_NEW_BEST = "best.new.safetensors"
KEPT = 1  # the newest is enough: it is marked only when it is whole


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
    """Where one arm's training is saved."""

    def __init__(self, world: World, arm: str) -> None:
        self.world = world
        self.place = world.work / "checkpoints" / arm
        self.place.mkdir(parents=True, exist_ok=True)
        self._best: dict[str, Tensor] | None = None

    def finished(self) -> tuple[State, dict[str, Tensor] | None]:
        """The end of a training that was finished earlier, or a fresh state and None."""
        mark = self.place / "finished.json"
        if not mark.exists():
            return State(), None
        return State(**json.loads(mark.read_text())), load_file(self.place / "trained.safetensors")

    def resume(self, engine: Engine) -> State:
        """Load the last checkpoint into the engine; a fresh state where there is none.

        One of another number of ranks cannot be read by DeepSpeed's engine: training starts anew.
        """
        mark = self.place / "latest.json"
        (self.place / _NEW_BEST).unlink(missing_ok=True)  # of a step after the checkpoint
        if not mark.exists():
            return State()
        found = json.loads(mark.read_text())
        if found.pop("ranks") != self.world.size:
            return State()
        state = State(**found)
        engine.model.load_checkpoint(str(self.place), _tag(state.step), load_module_strict=False)
        return state

    def save(self, engine: Engine, state: State) -> None:
        """Write a checkpoint; the former one counts until this one is whole on every rank."""
        # frozen parameters come from the base again: 85 GB against 0.5 GB at 7B
        engine.model.save_checkpoint(
            str(self.place), _tag(state.step), save_latest=False, exclude_frozen_parameters=True
        )
        self.world.wait()
        if self.world.first:
            best = self.place / _NEW_BEST
            if best.exists():
                best.replace(self.place / "best.safetensors")
            self._mark("latest.json", asdict(state) | {"ranks": self.world.size})
            for old in sorted(self.place.glob("step-*"))[:-KEPT]:
                shutil.rmtree(old)
        self.world.wait()

    def keep_best(self, tensors: dict[str, Tensor]) -> None:
        """Keep these tensors as the best so far; with the next checkpoint they are durable."""
        self._best = tensors
        if self.world.first:
            save_file(tensors, self.place / _NEW_BEST)

    def best(self) -> dict[str, Tensor]:
        """The tensors that were kept last."""
        return self._best or load_file(self.place / "best.safetensors")

    def finish(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Write the result of the training, then drop its checkpoints."""
        self.world.wait()
        if self.world.first:
            save_file(tensors, self.place / "trained.safetensors")
            self._mark("finished.json", asdict(state))
            for old in (*self.place.glob("step-*"), *self.place.glob("best*")):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.world.wait()

    def _mark(self, name: str, value: dict[str, Any]) -> None:
        fresh = self.place / f"{name}.new"
        with fresh.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.place / name)


def _tag(step: int) -> str:
    return f"step-{step:08d}"
