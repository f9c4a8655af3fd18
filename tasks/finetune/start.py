"""Where the heads start: states whitened, biases at base rates, queries at the labels' titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from tasks.finetune.batches import Notes
from tasks.finetune.outcomes import Outcome, Rows
from tasks.model.fusion import FusedModel
from tasks.model.heads import start_bias

BATCH_TITLES = 64
SAMPLED_NOTES = 256  # enough for a covariance of a few thousand directions: 30,000 tokens and more


def start_heads(
    model: FusedModel,
    notes: Notes,
    outcomes: Sequence[Outcome],
    rows: Rows,
    tokenizer: Tokenizer | None,
    weights: Mapping[str, Tensor],
) -> None:
    """Start what lies between the backbone and the logits, before the first step.

    Args:
        rows: the training admissions; no other is looked at.
        tokenizer: None leaves queries and weights at their random start.
        weights: outcome -> [labels], how much a case counts in the loss; absent: 1.
    """
    was_training = model.training
    model.eval()
    model.whitening.fit(_sample(model, notes, rows))
    for outcome in outcomes:
        head = model.head(outcome.name)
        positives, observed = outcome.positives(rows), outcome.observed(rows)
        start_bias(
            head,
            torch.from_numpy((positives & observed).sum(axis=0)).float(),
            torch.from_numpy(observed.sum(axis=0)).float(),
        )
        if outcome.name in weights:  # the base rates are those that the weighted loss sees
            with torch.no_grad():
                head.bias.add_(weights[outcome.name].log().to(head.bias.device))
        known = torch.tensor([bool(title) for title in outcome.titles])
        if tokenizer is not None and known.sum() > 1:
            titles = [title or " " for title in outcome.titles]
            head.start_from_titles(embed(model, tokenizer, titles, known), known)
    model.train(was_training)


def embed(model: FusedModel, tokenizer: Tokenizer, titles: Sequence[str], known: Tensor) -> Tensor:
    """The mean token state of each title, less the mean over the known ones, [titles, hidden]."""
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(titles), BATCH_TITLES):
        ids = [tokenizer.encode(title).ids or [0] for title in titles[start : start + BATCH_TITLES]]
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=device)
        lengths = torch.tensor([len(row) for row in ids], device=device)
        present = torch.arange(longest, device=device) < lengths[:, None]
        with torch.no_grad():
            states = model.whitening(model.states(padded))
        found.append((states * present[:, :, None]).sum(1) / lengths[:, None])
    embedded = torch.cat(found).cpu()
    return embedded - embedded[known].mean(dim=0)


def _sample(model: FusedModel, notes: Notes, rows: Rows) -> Tensor:
    """The token states of evenly spread training notes, [tokens, hidden]."""
    device = next(model.parameters()).device
    places = np.unique(np.linspace(0, len(rows) - 1, SAMPLED_NOTES).astype(np.int64))
    found = []
    for row in rows[places]:
        ids, _ = notes.padded(np.array([row]), device)
        with torch.no_grad():
            found.append(model.states(ids)[0].float())
    return torch.cat(found)
