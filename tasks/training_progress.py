"""A training program's progress, as its first rank writes it down and its launcher reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.reporting import Judged, Reading, report

PROGRESS = "progress.jsonl"
AUROC = "validation AUROC"


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
    def words(self) -> str:
        """What a progress bar or a log line says beside the count."""
        numbers = {
            "loss {:.4g}": self.loss,
            "validation {:.3f}": self.validation,
            "rate {:.2g}": self.learning_rate,
            "{:,.0f} tokens/s": self.tokens_per_second,
            "{:,.0f} MiB": self.peak_mib,
        }
        known = [words.format(number) for words, number in numbers.items() if number is not None]
        return ", ".join(filter(None, [self.arm, self.note, *known]))

    @property
    def reading(self) -> Reading:
        """What a step shows of it: a row of the training's table where there is a number for it."""
        row = {
            "training": self.arm,
            "step": self.step,
            "of": self.total,
            "loss": "" if self.loss is None else round(self.loss, 4),
            AUROC: "" if self.validation is None else round(self.validation, 4),
        }
        measured = {"training loss": self.loss, AUROC: self.validation}
        judged = None if self.validation is None else Judged(self.arm, self.validation)
        is_row = judged or self.loss is not None
        return Reading(
            done=self.step,
            total=self.total,
            words=self.words,
            row=row if is_row else None,
            milestone=judged is not None,
            judged=judged,
            training=self.arm,
            measured={name: value for name, value in measured.items() if value is not None},
        )


def show(progress: Progress) -> None:
    """Report it to the listener that a step has."""
    report(progress.reading)


def follow(path: Path, read: int, on_progress: Callable[[Progress], None]) -> int:
    """Report the whole lines beyond `read` bytes; return how far was read."""
    with path.open("rb") as file:
        file.seek(read)
        lines, newline, _ = file.read().rpartition(b"\n")
    for line in lines.splitlines():
        on_progress(Progress(**json.loads(line)))
    return read + len(lines) + len(newline)
