"""What can be known to be wrong before anything starts: files, tables, GPUs, names of stages.

Nothing here imports torch or Prefect, and nothing is read but headers: it takes a second.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from flows.config import AdaptConfig
from tasks.errors import ConfigError
from tasks.ingest.requirements import check_source
from tasks.launch import LaunchConfig
from tasks.model.bases.config import GgufBase, HubBase, PathBase
from tasks.model.bases.files import check_base, check_targets
from tasks.provenance import has_gpu
from tasks.training.config import read_deepspeed

# the stages, or single kinds of artifact, that each flow comes to
STAGES = {
    "ingest": ("ingest",),
    "pretrain": ("ingest", "pretrain"),
    "finetune": ("ingest", "pretrain", "finetune"),
    "baselines": ("ingest", "baselines"),
    "evaluate": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
    "adapt": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
    "audit": ("ingest", "audit"),
    "compare": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
}
# what each flow makes itself: all else is of earlier stages
OWN = {name: (name,) for name in STAGES} | {
    "adapt": STAGES["adapt"],
    "audit": ("sections", "audit"),
    "evaluate": ("evaluate", "report"),
}


def check(config: AdaptConfig, *, flow: str) -> None:
    """Raise ConfigError, SourceError or ModelError where the flow could not come to its end.

    Args:
        flow: its name; what it does not read is not looked at.
    """
    for part in STAGES[flow]:
        for key, path in _paths(getattr(config, part), part):
            if not path.exists():
                raise ConfigError(f"'{key}': {path} is not there; correct the path")
    check_source(config.ingest)
    if "pretrain" in STAGES[flow]:
        _check_machine(config.launch)
        _check_base(config)
        for stage in ("pretrain", "finetune"):
            if path := getattr(config, stage).training.deepspeed:
                read_deepspeed(path, f"{stage}.training.deepspeed")


def check_names(given: Sequence[str], known: Sequence[str], key: str) -> None:
    """Raise ConfigError for the first name that is not known, with the nearest that is."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"there is no '{name}' to {key}; {hint}")


def _paths(value: object, key: str) -> Iterator[tuple[str, Path]]:
    """Every path of a configuration, with its dotted key."""
    match value:
        case Path():
            yield key, value
        case BaseModel():
            for name, item in value:
                yield from _paths(item, f"{key}.{name}")
        case tuple():
            for index, item in enumerate(value):
                yield from _paths(item, f"{key}.{index}")


def _check_machine(launch: LaunchConfig) -> None:
    if launch.accelerator == "cuda" and not has_gpu():
        raise ConfigError(
            "launch.accelerator is cuda, but this machine shows no GPU; set it to auto or cpu"
        )


def _check_base(config: AdaptConfig) -> None:
    """The base's files, and that it has the layers that the adapters name."""
    base: Path | None = None
    match config.pretrain.base:
        case HubBase() | GgufBase():  # known once it is downloaded, or converted
            return
        case PathBase(path=base):
            check_base(base, config.pretrain.sequence_length)
    check_targets(base, config.pretrain.adapter.targets, "pretrain.adapter.targets")
    if config.finetune.adapter is not None:
        check_targets(base, config.finetune.adapter.targets, "finetune.adapter.targets")
