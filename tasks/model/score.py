"""Logits of many notes, computed by all ranks together."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.data.outcomes import Rows
from tasks.data.states import Inputs
from tasks.launch import Progress
from tasks.training.program import World

REPORT_SECONDS = 1.0
SCORED_TOKENS = 16_384  # of a batch, padding included: no gradients, so more than in training

Logits = dict[str, NDArray[np.float32]]  # outcome -> [admissions, labels]


def score(
    model: nn.Module, notes: Inputs, rows: Rows, world: World, what: str = "scoring"
) -> Logits:
    """The logits of these admissions, in their order, on every rank.

    Args:
        model: in evaluation mode; called with what `notes` gives, gives logits by outcome.
        what: is being scored, for who watches the progress.
    """
    batches = in_batches(notes.lengths[rows], SCORED_TOKENS)
    mine = batches[world.rank :: world.size]
    scored: list[tuple[Rows, Logits]] = []
    reported = time.monotonic()
    with torch.no_grad():
        for number, indices in enumerate(_equally_many(mine, batches, world)):
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                world.report(Progress(what, number, len(mine)))
            arrays = notes.padded(rows[indices])
            logits = model(*(torch.from_numpy(array).to(world.device) for array in arrays))
            scored.append(
                (indices, {name: tensor.cpu().numpy() for name, tensor in logits.items()})
            )
    whole: Logits = {}
    for indices, logits in (part for rank in world.gather(scored) for part in rank):
        for name, values in logits.items():
            if name not in whole:
                whole[name] = np.empty((len(rows), values.shape[1]), np.float32)
            whole[name][indices] = values
    return whole


def in_batches(lengths: NDArray[np.int64], most_tokens: int) -> list[NDArray[np.int64]]:
    """Indices of texts, in batches of similar length that hold so many tokens, padding included.

    The longest come first; a text that is longer is a batch of its own.
    """
    batches: list[list[int]] = []
    for index in np.argsort(-lengths, kind="stable"):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > most_tokens:
            batches.append([])
        batches[-1].append(int(index))
    return [np.array(batch, np.int64) for batch in batches]


def _equally_many(
    mine: list[NDArray[np.int64]], batches: list[NDArray[np.int64]], world: World
) -> list[NDArray[np.int64]]:
    """This rank's batches, one more where another rank has one: under ZeRO-3 they run together."""
    rounds = -(-len(batches) // world.size)
    return [*mine, *batches[:1]][:rounds] if len(mine) < rounds else mine
