"""What the training and prediction programs are told, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.config import Config
from tasks.finetune.config import FinetuneConfig


class FinetuneJob(Config):
    """What to train, from what, and where to leave it."""

    config: FinetuneConfig
    base: Path
    clinical: Path
    tokenizer: Path
    encoded: Path
    outcomes: Mapping[str, Path]
    result: Path


class PredictJob(Config):
    """Which adapters predict, and where the predictions go."""

    config: FinetuneConfig
    base: Path
    clinical: Path
    adapters: Path  # a task-adapter artifact
    encoded: Path
    outcomes: tuple[str, ...]
    result: Path
