"""The trained parameters and their optimizer's moments as this rank holds them, at any ZeRO stage.

ZeRO-1 and 2 lay the parameters of a group end to end and give each rank a stretch of that; ZeRO-3
cuts every parameter; stage 0 gives all of it to every rank. What a rank writes says where in its
parameter each piece begins, so that any number of ranks, at any stage, can take up what others
wrote: 2 ranks wrote [0, 6) and [6, 11) of a parameter of 11 numbers, the second of 3 reads [4, 8).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHT = "weight"  # the other keys are the optimizer's: exp_avg, exp_avg_sq


@dataclass(frozen=True)
class Held:
    """The piece of a parameter that this rank's optimizer steps, in float32."""

    flat: Tensor  # which the optimizer knows, and in which the piece lies
    offset: int  # of the piece in `flat`
    start: int  # of the piece in its parameter
    size: int
    everywhere: bool = False  # whether every rank holds the same

    @classmethod
    def of(cls, parameter: nn.Parameter, optimizer: Any, rank: int) -> Held:
        """Of DeepSpeed's optimizer, or torch's own where stage 0 leaves that as it is."""
        known: Any = parameter
        if hasattr(parameter, "ds_id"):  # ZeRO-3
            stage3 = known._z3_optimizer
            group, offset, padded = stage3.grad_position[stage3.get_param_id(parameter)]
            start = min(padded * rank, known.ds_numel)
            flat = stage3.fp32_partitioned_groups_flat[group]
            return cls(flat, offset, start, min(padded, known.ds_numel - start))
        if hasattr(parameter, "_hp_mapping"):  # ZeRO-1 and 2
            mapping = known._hp_mapping
            if mapping is None:
                return cls(torch.empty(0), 0, 0, 0)
            flat = optimizer.optimizer.param_groups[mapping.param_group_index]["params"][0]
            ours, theirs = mapping.hp_fragment_address, mapping.lp_fragment_address
            return cls(flat, ours.start, theirs.start, ours.numel)
        flat = master_of(parameter, optimizer)
        return cls(flat, 0, 0, parameter.numel(), everywhere=True)

    def tensors(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
        """The piece's weights, and its moments where there are any yet, each [size]."""
        state = optimizer.state.get(self.flat, {})
        moments = {key: value for key, value in state.items() if _is_moment(value, self.flat)}
        for key, whole in {WEIGHT: self.flat.detach(), **moments}.items():
            yield key, whole.view(-1).narrow(0, self.offset, self.size)


def master_of(parameter: nn.Parameter, optimizer: Any) -> Tensor:
    """Without ZeRO: what the optimizer steps, which of a rounded parameter is a float32 copy."""
    groups = zip(
        getattr(optimizer, "fp16_groups", ()), getattr(optimizer, "fp32_groups", ()), strict=True
    )
    for rounded, masters in groups:
        for twin, master in zip(rounded, masters, strict=True):
            if twin is parameter:
                return master
    return parameter


def write(path: Path, names: Mapping[str, nn.Parameter], optimizer: Any, rank: int) -> None:
    """Write what this rank holds of the parameters: a plain safetensors file."""
    tensors: dict[str, Tensor] = {}
    starts: dict[str, int] = {}
    for name, parameter in names.items():
        held = Held.of(parameter, optimizer, rank)
        if held.size == 0 or (held.everywhere and rank > 0):
            continue
        starts[name] = held.start
        for key, piece in held.tensors(_torchs(optimizer)):
            tensors[f"{key}:{name}"] = piece
    save(tensors, path, {"starts": json.dumps(starts)})


def save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write them as safetensors, which knows no views of one another's memory."""
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, metadata)


@dataclass
class Written:
    """What all ranks of some launch wrote."""

    pieces: dict[str, list[tuple[int, Any]]]  # key:name -> where each piece begins, and its tensor
    keys: list[str]  # what there is of each parameter

    @classmethod
    def open(cls, paths: Sequence[Path], stack: ExitStack) -> Self:
        pieces: dict[str, list[tuple[int, Any]]] = {}
        keys: list[str] = []
        for path in paths:
            file: Any = stack.enter_context(safe_open(path, framework="pt"))
            starts = json.loads(file.metadata()["starts"])
            for full in file.keys():  # noqa: SIM118
                key, _, name = full.partition(":")
                pieces.setdefault(full, []).append((starts[name], file.get_slice(full)))
                keys += [key] if key not in keys else []
        for of_parameter in pieces.values():
            of_parameter.sort(key=lambda piece: piece[0])
        return cls(pieces, keys)

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each parameter has."""
        return {
            full.partition(":")[2]: sum(piece.get_shape()[0] for _, piece in pieces)
            for full, pieces in self.pieces.items()
            if full.startswith(f"{WEIGHT}:")
        }

    def read(self, key: str, name: str, start: int, size: int) -> Tensor:
        """These numbers of a parameter laid out flat, [size], from whoever wrote them."""
        parts = []
        for begin, piece in self.pieces[f"{key}:{name}"]:
            low, high = max(start, begin), min(start + size, begin + piece.get_shape()[0])
            if low < high:
                parts.append(piece[low - begin : high - begin])
        return torch.cat(parts) if parts else torch.empty(0)


@torch.no_grad()
def put_back(
    written: Written,
    names: Mapping[str, nn.Parameter],
    optimizer: Any,
    rank: int,
    steps: int,
) -> None:
    """Give the optimizer its weights and moments, and the model its weights.

    Args:
        steps: which the optimizer had taken: AdamW's bias correction counts them.
    """
    stage3: Any = None
    for name, parameter in names.items():
        known: Any = parameter
        held = Held.of(parameter, optimizer, rank)
        state = _torchs(optimizer).state
        if steps and held.size:
            if held.flat not in state:
                moments = (key for key in written.keys if key != WEIGHT)
                state[held.flat] = {key: torch.zeros_like(held.flat) for key in moments}
            state[held.flat]["step"] = torch.tensor(float(steps))
        for key, piece in held.tensors(_torchs(optimizer)):
            piece.copy_(written.read(key, name, held.start, held.size))
        if hasattr(parameter, "ds_id"):
            stage3 = known._z3_optimizer
        elif held.flat is not parameter:
            whole = written.read(WEIGHT, name, 0, parameter.numel())
            parameter.copy_(whole.view_as(parameter))
    if stage3 is not None:  # as after a step: its pieces become the model's
        for group in range(len(stage3.fp16_groups)):
            stage3._reassign_or_swap_out_partitioned_parameters(group)
        stage3._post_step(set())


def _torchs(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside DeepSpeed's, or what is torch's already."""
    return getattr(optimizer, "optimizer", optimizer)


def _is_moment(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape and value.ndim > 0
