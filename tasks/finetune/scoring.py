"""Logits of many admissions, computed by all ranks together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.errors import TrainingError
from tasks.finetune.batches import Notes
from tasks.finetune.outcomes import Outcome, Rows
from tasks.launch import Progress
from tasks.measures.ranking import macro_auroc
from tasks.training.program import World

REPORT_SECONDS = 1.0
SCORED_TOKENS = 16_384  # of a batch, padding included: no gradients, so more than in training

Logits = dict[str, NDArray[np.float32]]  # outcome -> [admissions, labels]


def score(
    model: nn.Module,
    notes: Notes,
    rows: Rows,
    world: World,
    what: str = "scoring",
) -> Logits:
    """The logits of these admissions, in their order, on every rank.

    Args:
        model: in evaluation mode; called with ids and present, gives logits by outcome.
        what: is being scored, for who watches the progress.
    """
    batches = _by_length(notes, rows)
    mine = batches[world.rank :: world.size]
    found: list[tuple[Rows, Logits]] = []
    reported = time.monotonic()
    with torch.no_grad():
        for number, places in enumerate(mine):
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                world.report(Progress(what, number, len(mine)))
            ids, present = notes.padded(rows[places], world.device)
            logits = model(ids, present)
            found.append((places, {name: each.cpu().numpy() for name, each in logits.items()}))
    parts = [part for rank in world.gather(found) for part in rank]
    whole: Logits = {}
    for places, logits in parts:
        for name, values in logits.items():
            all_rows = whole.setdefault(name, np.empty((len(rows), values.shape[1]), np.float32))
            all_rows[places] = values
    return whole


def mean_macro_auroc(
    logits: Mapping[str, NDArray[np.float32]], outcomes: Sequence[Outcome], rows: Rows
) -> float:
    """The macro AUROC of each outcome, averaged over the outcomes where it is defined.

    Raises TrainingError where it is defined for none.
    """
    found = [
        macro_auroc(
            outcome.rankable(logits[outcome.name]),
            outcome.positives(rows),
            outcome.observed(rows),
        )
        for outcome in outcomes
    ]
    defined = [value for value in found if not np.isnan(value)]
    if not defined:
        raise TrainingError(
            f"among {len(rows)} validation admissions no label has both a case and a control; "
            "raise ingest.split.validation"
        )
    return float(np.mean(defined))


def _by_length(notes: Notes, rows: Rows) -> list[NDArray[np.int64]]:
    """Places in `rows`, in batches of similar length that hold at most SCORED_TOKENS."""
    lengths = notes.lengths[rows]
    batches: list[list[int]] = []
    for place in np.argsort(-lengths, kind="stable"):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > SCORED_TOKENS:
            batches.append([])
        batches[-1].append(int(place))
    return [np.array(batch, np.int64) for batch in batches]
