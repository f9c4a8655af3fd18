"""A training program's progress, as its first rank writes it down and its launcher reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRESS = "progress.jsonl"


@dataclass(frozen=True)
class Progress:
    """One reading of a training program's progress; it names no patient."""

    arm: str
    step: int
    total: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    peak_mib: float | None = None
    validation: float | None = None
    note: str = ""

    @property
    def done(self) -> int:
        return self.step

    @property
    def words(self) -> str:
        """What a progress bar or a log line says beside the count."""
        shown = [self.arm, self.note]
        if self.loss is not None:
            shown.append(f"loss {self.loss:.4g}")
        if self.validation is not None:
            shown.append(f"validation {self.validation:.3f}")
        if self.learning_rate is not None:
            shown.append(f"rate {self.learning_rate:.2g}")
        if self.tokens_per_second is not None:
            shown.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.peak_mib is not None:
            shown.append(f"{self.peak_mib:,.0f} MiB")
        return ", ".join(word for word in shown if word)

    @property
    def row(self) -> dict[str, object] | None:
        """A row of the training's table, where there is a loss or a validation."""
        if self.loss is None and self.validation is None:
            return None
        return {
            "training": self.arm,
            "step": self.step,
            "of": self.total,
            "loss": "" if self.loss is None else round(self.loss, 4),
            "validation AUROC": "" if self.validation is None else round(self.validation, 4),
        }

    @property
    def milestone(self) -> bool:
        return self.validation is not None


def follow(path: Path, read: int, on_progress: Callable[[Progress], None] | None) -> int:
    """Report the whole lines beyond `read` bytes; return how far was read."""
    with path.open("rb") as file:
        file.seek(read)
        lines, newline, _ = file.read().rpartition(b"\n")
    for line in lines.splitlines():
        if on_progress:
            on_progress(Progress(**json.loads(line)))
    return read + len(lines) + len(newline)
