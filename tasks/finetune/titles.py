"""Label titles as the model reads them: where a label's query and weight start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tasks.finetune.outcomes import Outcome
from tasks.model.fusion import FusedModel
from tasks.model.heads import start_bias

BATCH_TITLES = 64


def start_heads(
    model: FusedModel,
    outcomes: Sequence[Outcome],
    rows: Tensor,
    tokenizer: Tokenizer | None,
) -> None:
    """Start every head at its labels' base rates among the training rows, and at their titles.

    Args:
        tokenizer: None leaves queries and weights at their random start.
    """
    for outcome in outcomes:
        head = model.head(outcome.name)
        positives = outcome.positives(rows.numpy())
        observed = outcome.observed(rows.numpy())
        start_bias(
            head,
            torch.from_numpy((positives & observed).sum(axis=0)).float(),
            torch.from_numpy(observed.sum(axis=0)).float(),
        )
        known = torch.tensor([bool(title) for title in outcome.titles])
        if tokenizer is not None and known.sum() > 1:
            titles = [title or " " for title in outcome.titles]
            head.start_from_titles(embed(model, tokenizer, titles, known), known)


def embed(model: FusedModel, tokenizer: Tokenizer, titles: Sequence[str], known: Tensor) -> Tensor:
    """The mean token state of each title, less the mean over the known ones, [titles, hidden]."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = []
    for start in range(0, len(titles), BATCH_TITLES):
        ids = [tokenizer.encode(title).ids or [0] for title in titles[start : start + BATCH_TITLES]]
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=device)
        lengths = torch.tensor([len(row) for row in ids], device=device)
        present = torch.arange(longest, device=device) < lengths[:, None]
        with torch.no_grad():
            states = model.states(padded).float()
        found.append((states * present[:, :, None]).sum(1) / lengths[:, None])
    model.train(was_training)
    embedded = torch.cat(found).cpu()
    return embedded - embedded[known].mean(dim=0)
