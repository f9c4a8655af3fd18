"""What can be known to be wrong before anything starts: files, tables, GPUs, names of stages.

Nothing here imports torch or Prefect, and nothing is read but headers: it takes a second.
"""

from __future__ import annotations

import difflib
import importlib.util
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from flows.config import AdaptConfig, TrackConfig
from tasks.errors import ConfigError
from tasks.finetune.long_notes import InChunks
from tasks.finetune.members import MemberConfig
from tasks.hooks import HooksConfig, When
from tasks.ingest.requirements import check_source
from tasks.launch import LaunchConfig
from tasks.model.adapters.allows import (
    check_freezing,
    check_method,
    check_quantized,
    check_task_method,
    check_whole,
)
from tasks.model.adapters.fusions import check_fusion, check_merges, order_matters
from tasks.model.adapters.methods import AnyMethod, targets_of, tokens_before
from tasks.model.bases.config import GgufBase, HubBase, PathBase, ScratchBase
from tasks.model.bases.files import (
    check_base,
    check_length,
    check_notes_length,
    check_quantizable,
    check_targets,
    is_causal,
)
from tasks.pretrain.config import OntologyTraining
from tasks.provenance import has_gpu
from tasks.training.config import TrainingConfig, read_deepspeed

# the stages, or single kinds of artifact, that each flow comes to
STAGES = {
    "ingest": ("ingest",),
    "pretrain": ("ingest", "pretrain"),
    "finetune": ("ingest", "pretrain", "finetune"),
    "baselines": ("ingest", "baselines"),
    "evaluate": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
    "adapt": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
    "audit": ("ingest", "audit"),
    "memory": ("ingest", "pretrain", "memory"),
    "compare": ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report"),
    "search": ("ingest", "pretrain", "finetune"),
    "score": ("notes", "score"),
}
# what each flow makes itself: all else is of earlier stages
OWN = {name: (name,) for name in STAGES} | {
    "adapt": STAGES["adapt"],
    "audit": ("sections", "audit"),
    "memory": ("pretrain", "canaries", "candidates", "memory"),
    "evaluate": ("evidence", "evaluate", "report"),
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
    check_hooks(config.hooks)
    check_tracker(config.track)
    if "pretrain" in STAGES[flow]:
        check_machine(config.launch)
        trainings = _trainings(config, flow)
        _check_ranks(config.launch, trainings)
        _check_quantized(config, flow)
        _check_base(config, flow)
        _check_lengths(config)
        for key, training in trainings.items():
            if training.deepspeed:
                read_deepspeed(training.deepspeed, f"{key}.deepspeed")
    if "finetune" in STAGES[flow]:
        _check_summands(config)


def check_machine(launch: LaunchConfig) -> None:
    """Raise ConfigError where there is no GPU and one is asked for."""
    if launch.accelerator == "cuda" and not has_gpu():
        raise ConfigError(
            "launch.accelerator is cuda, but this machine shows no GPU; set it to auto or cpu"
        )


def check_hooks(hooks: HooksConfig) -> None:
    """Raise ConfigError for the first command whose program is not there."""
    for when in get_args(When):
        command = hooks.command(when)
        if command and shutil.which(command[0]) is None:
            raise ConfigError(
                f"'hooks.{when}': there is no program {command[0]}; correct its path, and make it "
                "executable"
            )


def check_tracker(track: TrackConfig) -> None:
    """Raise ConfigError where files for TensorBoard are asked for, and cannot be written."""
    if track.tensorboard is None:
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "track.tensorboard needs the package tensorboard; pip install "
            "'clinfuse[tensorboard]', or leave the key out"
        )
    if track.tensorboard.exists() and not track.tensorboard.is_dir():
        raise ConfigError(
            f"'track.tensorboard': {track.tensorboard} is a file; name a folder, new or not"
        )


def ordered_members(config: AdaptConfig) -> tuple[MemberConfig, ...]:
    """The members whose sum would be another one in another order."""
    return tuple(
        member
        for member in config.finetune.members
        if order_matters([method.kind for method in _beside(config, member).values()])
    )


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


def _trainings(config: AdaptConfig, flow: str) -> dict[str, TrainingConfig]:
    """The trainings that the configuration comes to, by the key of each."""
    trainings = {
        "pretrain.training": config.pretrain.training,
        "finetune.training": config.finetune.training,
    }
    if isinstance(config.pretrain.base, ScratchBase):
        trainings["pretrain.base.training"] = config.pretrain.base.training
    if "ontology" in _wanted(config, flow):
        trainings["pretrain.ontology.training"] = config.pretrain.ontology.training
    return trainings


def _check_ranks(launch: LaunchConfig, trainings: Mapping[str, TrainingConfig]) -> None:
    """Every rank has something to do in a step."""
    ranks = launch.ranks * launch.nodes
    for key, training in trainings.items():
        # one contrast a step is not cut into parts
        if ranks > training.batch_size and not isinstance(training, OntologyTraining):
            raise ConfigError(
                f"there are {ranks} ranks (launch.ranks times launch.nodes), but {key}.batch_size "
                f"is {training.batch_size}, less than one a rank; lower the ranks or raise it"
            )


def _wanted(config: AdaptConfig, flow: str) -> set[str]:
    """The adapters of the domain that the flow makes: those that members add."""
    wanted: set[str] = {s.adapter for member in config.finetune.members for s in member.summands}
    return wanted or ({"clinical"} if flow == "pretrain" else set())


def _check_quantized(config: AdaptConfig, flow: str) -> None:
    """That what is trained can be trained on a base of fewer bits, if it is one."""
    quantization = getattr(config.pretrain.base, "quantization", None)
    if quantization is None:
        return
    methods: dict[str, AnyMethod] = {}
    wanted = _wanted(config, flow)
    if "clinical" in wanted:
        methods["pretrain.adapter"] = config.pretrain.adapter
    if "ontology" in wanted:
        methods["pretrain.ontology.adapter"] = config.pretrain.ontology.adapter
    if config.finetune.adapter is not None:
        methods["finetune.adapter"] = config.finetune.adapter
    check_quantized(int(quantization[0]), methods, _trainings(config, flow))


def _check_base(config: AdaptConfig, flow: str) -> None:
    """The base's files, its layers that adapters name, and whether their methods fit it."""
    base: Path | None = None
    pretraining, causal = config.pretrain, True
    match pretraining.base:
        case HubBase() | GgufBase():  # known once it is downloaded, or converted
            return
        case PathBase(path=base):
            causal = is_causal(base) if (base / "config.json").is_file() else True
            longest = pretraining.sequence_length
            longest += tokens_before(pretraining.adapter) if causal else 0
            check_base(base, longest if causal else None)  # an encoder reads notes in chunks
            if pretraining.base.quantization:
                check_quantizable(base)
    wanted = _wanted(config, flow)
    if "clinical" in wanted:
        check_method(pretraining.adapter, pretraining.training, causal=causal)
    check_targets(base, targets_of(pretraining.adapter), "pretrain.adapter.targets")
    if "ontology" in wanted:
        targets = targets_of(pretraining.ontology.adapter)
        check_targets(base, targets, "pretrain.ontology.adapter.targets")
    task = config.finetune.adapter
    if task is not None and "finetune" in STAGES[flow]:
        check_task_method(task, config.finetune.training, causal=causal)
        if config.finetune.training.freezing:
            check_freezing(config.finetune.training)
    if task is not None:
        check_targets(base, targets_of(task), "finetune.adapter.targets")


def _check_summands(config: AdaptConfig) -> None:
    """That what pretraining makes can be added up as the members ask for."""
    made = _made(config)
    quantized = getattr(config.pretrain.base, "quantization", None) is not None
    for member in config.finetune.members:
        beside = _beside(config, member)
        kinds = {key: method.kind for key, method in beside.items()}
        for summand in member.summands:
            key = _KEYS[summand.adapter]
            weights = summand.weights(frozen_trunk=config.finetune.adapter is None)
            methods = {**kinds, key: made[summand.adapter].kind}
            check_fusion(key, methods, summand.fusion, weights, member.name, quantized=quantized)
            if summand.fusion == "merged":
                check_whole(config.finetune.training, "finetune.training")
        check_merges(member.merges, beside, member.name)


_KEYS = {"clinical": "pretrain.adapter", "ontology": "pretrain.ontology.adapter"}


def _made(config: AdaptConfig) -> dict[str, AnyMethod]:
    """The method of each adapter that pretraining makes, by the adapter's name."""
    return {
        "clinical": config.pretrain.adapter,
        "ontology": config.pretrain.ontology.adapter,
    }


def _beside(config: AdaptConfig, member: MemberConfig) -> dict[str, AnyMethod]:
    """The methods whose updates the member adds up, by their keys, in the order of the sum."""
    made = _made(config)
    beside = {_KEYS[name]: made[name] for name in member.beside}
    started = (made[s.adapter] for s in member.summands if s.fusion == "continued")
    if (of_task := next(started, config.finetune.adapter)) is not None:
        beside["finetune.adapter"] = of_task
    return beside


def _check_lengths(config: AdaptConfig) -> None:
    """The base reads as many tokens as it is given: what `_check_base` leaves of that."""
    match config.pretrain.base:
        case PathBase(path=base) if not isinstance(config.finetune.long_notes, InChunks):
            before = tokens_before(config.finetune.adapter)
            check_notes_length(base, config.finetune.max_tokens, before)
        case ScratchBase(max_positions=positions):
            check_length(config.pretrain.sequence_length, positions)
